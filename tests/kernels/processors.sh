#!/bin/sh
# Builds all for other processors and another C library, in build/NAME, and has the unit tests,
# the fuzz targets' inputs on record and the tests of the stages run there.
#
#   processors.sh [NAME...]     s390x (big-endian), arm64, i386 (32 bits), musl; all of them
#                               where none is named
#
# The programs of the first two run in qemu-user, which does what the processor does and hands
# on the system calls: what they are told about a connection, this machine's kernel says. The
# environment: TESTS, what pytest is to run; nothing where it is empty.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- s390x arm64 i386 musl
mkdir -p build

# The names that compilers and qemu have for it: the GNU triplet, and the command to run.
triplet_of() {
    case $1 in
    s390x) echo s390x-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
    i386) echo i686-linux-gnu ;;
    *)
        echo "processors.sh: $1: it can be s390x, arm64, i386 or musl" >&2
        exit 2
        ;;
    esac
}

# build NAME GOAL...: make, for it.
build() {
    name=$1
    shift
    if [ "$name" = musl ]; then
        # The kernel's own headers, which belong to no C library.
        mkdir -p build/musl/include
        for folder in linux asm-generic mtd; do
            ln -sfn "/usr/include/$folder" "build/musl/include/$folder"
        done
        ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" build/musl/include/asm
        make -s BUILD=build/musl CC=musl-gcc CFLAGS="-O2 -g -isystem build/musl/include" \
            LDFLAGS=-static "$@"
        return
    fi
    triplet=$(triplet_of "$name")
    libraries=/usr/$triplet/lib
    # Programs of 32 bits run on the kernel of a processor of 64, if they find their libraries.
    flags=
    [ "$name" != i386 ] ||
        flags="-Wl,--dynamic-linker=$libraries/ld-linux.so.2 -Wl,-rpath,$libraries"
    gtest "$name" "$triplet"
    make -s BUILD="build/$name" CC="$triplet-gcc" CXX="$triplet-g++" \
        CXXFLAGS="-O0 -g -isystem build/$name/include" \
        LDFLAGS="-Lbuild/$name/gtest $flags" "$@"
}

# GoogleTest, from Debian's sources.
gtest() {
    sources=/usr/src/googletest/googletest
    [ ! -e "build/$1/gtest/libgtest_main.a" ] || return 0
    mkdir -p "build/$1/gtest" "build/$1/include"
    ln -sfn /usr/include/gtest "build/$1/include/gtest"
    for part in gtest gtest_main; do
        file=$part
        [ $part = gtest_main ] || file=gtest-all
        "$2-g++" -O1 -w -I"build/$1/include" -I$sources -c "$sources/src/$file.cc" \
            -o "build/$1/gtest/$part.o"
        "$2-ar" rcs "build/$1/gtest/lib$part.a" "build/$1/gtest/$part.o"
    done
}

# What runs a program of it; nothing where this machine can.
emulator_of() {
    case $1 in
    s390x) echo "qemu-s390x -L /usr/s390x-linux-gnu" ;;
    arm64) echo "qemu-aarch64 -L /usr/aarch64-linux-gnu" ;;
    esac
}

# The stages as the tests start them: in build/NAME/run, scripts that run them.
wrap() {
    emulator=$(emulator_of "$1")
    for program in build/"$1"/0[1-9]-*/server build/"$1"/0[1-9]-*/client; do
        script=build/$1/run/${program#"build/$1/"}
        mkdir -p "${script%/*}"
        printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$emulator" "$PWD/$program" >"$script"
        chmod +x "$script"
    done
}

# Tests that say nothing there. Tools for this machine's processor look at no other one's
# programs, and for the stacks of 3000 threads 32 bits have no room. qemu-user has a name, a
# memory and threads of its own, asks the kernel neither for TCP_INFO nor for MSG_FASTOPEN, and
# what this machine has below /proc is in this machine's byte order.
left_out_of() {
    case $1 in
    musl) ;;
    i386) echo "valgrind or system_calls or 3000_clients" ;;
    *)
        echo "valgrind or system_calls or 3000_clients or who_has_the_port or backlog_above or" \
            "how_many_wait or fastopen_takes or refused_connection_with_a_cookie or" \
            "one_thread_and or 5000_clients or 10000_idle or not_read_either or every_loop"
        ;;
    esac
}

units_left_out_of() {
    case $1 in
    s390x | arm64) echo "--gtest_filter=-Holder.*Listener*:Limits.TheQueueOf*" ;;
    esac
}

status=0
for name; do
    start=$(date +%s)
    goals="all fuzzers"
    [ "$name" = musl ] || goals="$goals build/$name/tests/unit/unit_tests"
    # shellcheck disable=SC2086
    build "$name" $goals >"build/$name.log" 2>&1 || {
        tail -n 20 "build/$name.log"
        status=1
        continue
    }
    emulator=$(emulator_of "$name")
    programs=build/$name
    limit=${TEST_LIMIT:-20}
    if [ -n "$emulator" ]; then
        limit=60 # seconds: what is emulated takes its time
        wrap "$name"
        programs=build/$name/run
    fi
    if [ "$name" != musl ]; then
        # shellcheck disable=SC2046
        $emulator "build/$name/tests/unit/unit_tests" --gtest_brief=1 \
            $(units_left_out_of "$name") || status=1
    fi
    for record in tests/fuzz/corpus/*.txt; do
        target=${record##*/}
        $emulator "build/$name/tests/fuzz/${target%.txt}" "$record" || status=1
    done
    tests=${TESTS-tests/integration/test_0*.py}
    left_out=$(left_out_of "$name")
    # shellcheck disable=SC2086
    [ -z "$tests" ] ||
        TEST_LIMIT=$limit sh tests/pytest.sh --build="$programs" \
            ${left_out:+-k "not ($left_out)"} $tests || status=1
    echo "$name: $(($(date +%s) - start)) s"
done
exit $status
