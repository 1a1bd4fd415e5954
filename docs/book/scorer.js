// Chapters come before sources.
var Scorer = {
  score: function (result) {
    return result[4] - (result[0].startsWith("source/") ? 100 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
