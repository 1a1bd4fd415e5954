#!/bin/sh
# The tour: the labs in their quick form, one after another, and a table of what they saw.
# tour.sh full: in their full form, and build/labs/index.html, a page with all results.
# Exit status: that of the labs, 1 where an effect was not seen, 77 where all that could be
# tried was seen, but not all could be tried here.
cd "$(dirname "$0")/.." || exit 1
quick=on results=build/tour
[ "$1" = full ] && quick=off results=build/labs

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

status=0 not_seen= not_allowed= number=0
set --
for file in build/tests/labs/[0-9][0-9]-*; do
    case $file in
    *.o | *.d) ;;
    *) set -- "$@" "$file" ;;
    esac
done
for lab; do
    number=$((number + 1))
    printf '%s[%d of %d]%s ' "$bold" "$number" "$#" "$plain"
    "$lab" --quick $quick --results $results
    case $? in
    0) ;;
    77) not_allowed="$not_allowed $(basename "$lab")" ;;
    *) not_seen="$not_seen $(basename "$lab")" ;;
    esac
    echo
done

printf '%sWhat the options do, as measured just now on this machine:%s\n\n' "$bold" "$plain"
for lab; do
    name=$(basename "$lab")
    while read -r part; do
        cat "$results/${name%%-*}/$part.row" 2>/dev/null
    done <"$results/${name%%-*}/parts.list"
done | awk -F '\t' -v bold="$bold" -v plain="$plain" '
    function pad(text, width) { return text sprintf("%" (width - length(text)) "s", "") }
    BEGIN {
        line[0] = "stage\toption\twithout\twith\tfactor"
        count = 1
    }
    { line[count++] = $0 }
    END {
        for (i = 0; i < count; i++) {
            fields = split(line[i], field, "\t")
            for (f = 1; f <= fields; f++)
                if (length(field[f]) > width[f])
                    width[f] = length(field[f])
        }
        for (i = 0; i < count; i++) {
            fields = split(line[i], field, "\t")
            printf "  %s", i == 0 ? bold : ""
            for (f = 1; f < fields; f++)
                printf "%s  ", pad(field[f], width[f])
            printf "%s%s\n", field[fields], i == 0 ? plain : ""
        }
    }'
echo
if [ -n "$not_seen" ]; then
    echo "NOT SEEN, against all expectation, in:$not_seen"
    status=1
elif [ -n "$not_allowed" ]; then
    echo "Not all of it could be shown on this machine; why stands above, at:$not_allowed"
    status=77
fi
if [ $quick = off ]; then
    sh tests/labs/page.sh build/labs && echo "All tables and pictures: build/labs/index.html"
else
    echo "More of each: make lab-01 … make lab-09. Now read 01-basic/, then make diff-02, diff-03 …"
fi
exit $status
