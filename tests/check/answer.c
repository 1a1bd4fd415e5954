#include "tests/check/answer.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_LINES = 1200, ALWAYS = 100000 };

static struct line {
    char *text;
    int from, until;
} lines[MOST_LINES];
static int count;

static void read_answer(bool python)
{
    const char *path = python ? "tests/check/answers/server.py" : "tests/check/answers/server.c";
    const char *begin = python ? "#+ " : "//+ ", *end = python ? "#." : "//.";
    FILE *file = fopen(path, "r");
    char text[512];
    int from = 0, until = ALWAYS;

    if (file == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    for (count = 0; fgets(text, sizeof text, file) != NULL;) {
        const char *word = text + strspn(text, " ");
        int stage, step, stage_end, step_end;
        if (strncmp(word, begin, strlen(begin)) == 0) {
            int found =
                sscanf(word + strlen(begin), "%d.%d %d.%d", &stage, &step, &stage_end, &step_end);
            from = MOMENT(stage, step);
            until = found == 4 ? MOMENT(stage_end, step_end) : ALWAYS;
        } else if (strncmp(word, end, strlen(end)) == 0) {
            from = 0;
            until = ALWAYS;
        } else if (count < MOST_LINES) {
            lines[count] = (struct line){strdup(text), from, until};
            if (lines[count++].text == NULL) {
                perror("strdup");
                exit(EXIT_FAILURE);
            }
        }
    }
    fclose(file);
}

static void forget_answer(void)
{
    while (count > 0)
        free(lines[--count].text);
}

static bool there(const struct line *line, int moment)
{
    return line->from <= moment && moment < line->until;
}

void answer_write(FILE *file, bool python, int moment)
{
    read_answer(python);
    for (int i = 0; i < count; i++)
        if (there(&lines[i], moment))
            fputs(lines[i].text, file);
    forget_answer();
}

/* Lines that come and go one way or the other at a moment; lines of other moments are not seen. */
int answer_show(FILE *file, bool python, int moment)
{
    enum { AROUND = 2 };
    int changed = 0, last = -1;
    static int seen[MOST_LINES];
    int total = 0;

    read_answer(python);
    for (int i = 0; i < count; i++)
        if (there(&lines[i], moment) || there(&lines[i], moment - 1))
            seen[total++] = i;
    for (int i = 0; i < total; i++) {
        bool near = false;
        for (int j = i - AROUND; j <= i + AROUND; j++)
            if (j >= 0 && j < total)
                near = near || there(&lines[seen[j]], moment) != there(&lines[seen[j]], moment - 1);
        if (!near)
            continue;
        const struct line *line = &lines[seen[i]];
        bool now = there(line, moment), before = there(line, moment - 1);
        changed += now != before;
        if (last >= 0 && i > last + 1)
            fputs("    ...\n", file);
        last = i;
        fprintf(file, "  %c %s", now == before ? ' ' : now ? '+' : '-', line->text);
    }
    forget_answer();
    return changed;
}

char *answer_part(bool python, int moment, bool come)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    if (file == NULL) {
        perror("open_memstream");
        exit(EXIT_FAILURE);
    }
    read_answer(python);
    for (int i = 0; i < count; i++)
        if ((come ? lines[i].from : lines[i].until) == moment)
            fputs(lines[i].text, file);
    forget_answer();
    fclose(file);
    return text;
}
