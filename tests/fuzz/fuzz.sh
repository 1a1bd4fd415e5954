#!/bin/sh
# Has libFuzzer think up inputs for the targets, one target after another, from the inputs on
# record and those it found before (build/fuzzer/corpus). What breaks a target is left as a file
# in build/fuzzer.
#
#   fuzz.sh RUNS [TARGET...]     so many inputs for each target
#   fuzz.sh record [TARGET...]   puts on record what reaches more than what is there
set -u
cd "$(dirname "$0")/../.." || exit 1
build=build/fuzzer runs=$1
shift
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus | sed 's/\.txt$//')

# A line of text for each input, and back: what replay.c reads.
unpack() {
    mkdir -p "$2"
    python3 -B - "$1" "$2" <<'END'
import hashlib, pathlib, re, sys
for line in pathlib.Path(sys.argv[1]).read_bytes().splitlines():
    data = re.sub(rb"\\x([0-9a-f]{2})", lambda code: bytes.fromhex(code[1].decode()), line)
    pathlib.Path(sys.argv[2], hashlib.sha1(data).hexdigest()).write_bytes(data)
END
}

pack() {
    python3 -B - "$1" >"$2" <<'END'
import pathlib, sys
shown = set(range(0x20, 0x7F)) - {ord("\\")}
files = [path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()]
for data in sorted(files, key=lambda data: (len(data), data)):
    print("".join(chr(byte) if byte in shown else f"\\x{byte:02x}" for byte in data))
END
}

# A text is read as far as its end, and no further.
export ASAN_OPTIONS=strict_string_checks=1
status=0
for target; do
    corpus=$build/corpus/$target record=tests/fuzz/corpus/$target.txt log=$build/$target.log
    unpack "$record" "$corpus"
    if [ "$runs" = record ]; then
        rm -rf "$build/merged"
        unpack "$record" "$build/merged"
        "$build/tests/fuzz/$target" -set_cover_merge=1 -close_fd_mask=3 "$build/merged" "$corpus" \
            2>"$log" || { status=1 && tail -n 30 "$log" && continue; }
        pack "$build/merged" "$record"
        echo "$target: $(wc -l <"$record") inputs on record"
        continue
    fi
    start=$(date +%s)
    if ! "$build/tests/fuzz/$target" -runs="$runs" -max_len=512 -timeout=10 -close_fd_mask=3 \
        -print_final_stats=1 -artifact_prefix="$build/$target-" "$corpus" 2>"$log"; then
        echo "$target: broken; $log says"
        tail -n 40 "$log"
        status=1
        continue
    fi
    echo "$target: $(sed -n 's/.*number_of_executed_units: *//p' "$log") inputs," \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges reached," \
        "$(($(date +%s) - start)) s"
done
exit $status
