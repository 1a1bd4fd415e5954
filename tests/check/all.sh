#!/bin/sh
# Checks a folder of submissions: a line for each of them.
# usage: all.sh CHECKER FOLDER STAGE
checker=$1 folder=$2 stage=$3
if [ ! -d "$folder" ] || [ -z "$stage" ]; then
    echo "say which folder and which stage: make check-all DIR=submissions STAGE=03" >&2
    exit 2
fi
for entry in "$folder"/*; do
    name=$(basename "$entry")
    source=
    if [ -f "$entry" ]; then
        case $name in *.c | *.py) source=$entry ;; *) continue ;; esac
        name=${name%.*}
    else
        for file in "$stage/server.c" "$stage/server.py" "mine/$stage/server.c" \
            "mine/$stage/server.py" server.c server.py; do
            [ -z "$source" ] && [ -f "$entry/$file" ] && source=$entry/$file
        done
    fi
    if [ -z "$source" ]; then
        printf '%-24s hands in no server for stage %s\n' "$name" "$stage"
        continue
    fi
    # What the compiler says would be between the lines of the table.
    "$checker" check "$stage" --source "$source" --name "$name" --all --brief 2>/dev/null
done
exit 0
