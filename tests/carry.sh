#!/bin/sh
# Carries what changed in a stage since the last commit into each later stage: carry.sh 03.
# A three-way merge for each (git-merge-file(1)): what the stage was, what it is now, and the
# later stage. Where both changed the same lines, the later one is left with conflict markers.
from=$1
stage=$(ls -d "$from"-*/ 2>/dev/null)
stage=${stage%/}
if [ -z "$stage" ]; then
    echo "FROM=$from: no such stage; it is make carry FROM=NN, such as FROM=03" >&2
    exit 2
fi
before=$(mktemp)
trap 'rm -f "$before"' EXIT
conflicts=0
carried=0
for program in server client; do
    if ! git show "HEAD:./$stage/$program.c" >"$before"; then
        echo "$stage/$program.c: the last commit does not have it, or this is no checkout" >&2
        exit 1
    fi
    cmp -s "$before" "$stage/$program.c" && continue
    for later in [0-9][0-9]-*/; do
        later=${later%/}
        # "09" is no number to the shell's arithmetic.
        [ "${later%%-*}" -gt "$from" ] || continue
        git merge-file -L "$later" -L "$stage, committed" -L "$stage, now" \
            "$later/$program.c" "$before" "$stage/$program.c"
        case $? in
        0) echo "carried   $later/$program.c" ;;
        1?? | 2??) exit 1 ;;
        *)
            echo "CONFLICT  $later/$program.c:$(sed -n '/^<<<<<<< /=' "$later/$program.c" | tr '\n' ' ')"
            conflicts=$((conflicts + 1))
            ;;
        esac
        carried=$((carried + 1))
    done
done
[ "$carried" -gt 0 ] || echo "$stage is as it was committed: nothing to carry"
[ "$conflicts" = 0 ] || {
    echo "settle what stands between <<<<<<< and >>>>>>> by hand; the numbers are lines" >&2
    exit 1
}
