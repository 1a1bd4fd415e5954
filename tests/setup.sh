#!/bin/sh
# Sees that what a task needs is there: setup.sh TASK, and the task is tour, test, lint, book,
# book-test, fuzz, kernels or processors. What is missing is installed as packages where that is
# possible: by root, or by sudo where it asks nothing or can ask on the terminal. Otherwise it
# prints the one command to type, and fails. Behind processors may stand which of those that
# tests/kernels/processors.sh knows.
#
# setup.sh python prints a Python that has what the tests need, setup.sh book-python one that has
# what the book needs; there may be several.

# A Python that has these modules.
find_python() {
    for python in "${PYTHON:-python3}" /usr/bin/python3 /usr/local/bin/python3 \
        python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python; do
        if "$python" -B -c "import $1" >/dev/null 2>&1; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

test_modules="pytest, hypothesis"
book_modules="sphinx, myst_parser, furo"

# What is missing, in words; nothing where all is there.
missing() {
    case $1 in
    kernels)
        for tool in debootstrap qemu-system-x86_64 busybox cpio mke2fs python3; do
            has "$tool" || echo "$tool"
        done
        return
        ;;
    processors)
        for name in $processors; do
            case $name in
            s390x) has s390x-linux-gnu-g++ && has qemu-s390x ;;
            arm64) has aarch64-linux-gnu-g++ && has qemu-aarch64 ;;
            i386) has i686-linux-gnu-g++ ;;
            musl) has musl-gcc ;;
            esac || echo "what builds and runs programs for $name"
        done
        [ -d /usr/src/googletest ] || echo "the sources of GoogleTest"
        find_python "$test_modules" >/dev/null || echo "Python with pytest and hypothesis"
        return
        ;;
    book*)
        find_python "$book_modules" >/dev/null || echo "Python with Sphinx, MyST and Furo"
        [ "$1" = book ] || has chromium || has chromium-browser || echo "Chromium"
        return
        ;;
    esac
    if has "${CC:-cc}"; then
        echo '#include <linux/rtnetlink.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
            echo "the kernel's header files"
    else
        echo "a C compiler"
    fi
    [ "$1" = tour ] && return
    if [ "$1" = fuzz ]; then
        has clang || echo "clang"
        echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
            clang -fsanitize=fuzzer,address -x c - -o /dev/null >/dev/null 2>&1 ||
            echo "clang's sanitizers and libFuzzer"
        has python3 || echo "Python"
        return
    fi
    if has "${CXX:-c++}"; then
        echo '#include <gtest/gtest.h>' | "${CXX:-c++}" -E -x c++ - >/dev/null 2>&1 ||
            echo "GoogleTest"
    else
        echo "a C++ compiler, GoogleTest"
    fi
    find_python "$test_modules" >/dev/null || echo "Python with pytest and hypothesis"
    has nc || has socat || echo "nc or socat"
    has ip && has ss || echo "iproute2"
    [ "$1" = lint ] || return
    for tool in gcc clang clang-format clang-tidy cppcheck; do
        has "$tool" || echo "$tool"
    done
}

task=$1
[ $# -eq 0 ] || shift
processors=${*:-s390x arm64 i386 musl}
debian="apt-get install -y"
fedora="dnf install -y"
arch="pacman -S --needed --noconfirm"
alpine="apk add"
case $task in
kernels)
    debian="$debian --no-install-recommends debootstrap qemu-system-x86 busybox-static cpio"
    debian="$debian e2fsprogs python3"
    fedora= arch= alpine=
    ;;
processors)
    debian="$debian --no-install-recommends"
    for name in $processors; do
        case $name in
        s390x) debian="$debian g++-s390x-linux-gnu qemu-user" ;;
        arm64) debian="$debian g++-aarch64-linux-gnu qemu-user" ;;
        i386) debian="$debian g++-i686-linux-gnu" ;;
        musl) debian="$debian musl-tools" ;;
        esac
    done
    debian="$debian libgtest-dev python3-pytest python3-pytest-xdist python3-hypothesis"
    fedora= arch= alpine=
    ;;
book*)
    debian="$debian python3-sphinx python3-myst-parser furo"
    fedora="$fedora python3-sphinx python3-myst-parser python3-furo"
    arch="$arch python-sphinx python-myst-parser python-sphinx-furo"
    alpine="$alpine py3-sphinx py3-myst-parser py3-furo"
    ;;
*)
    debian="$debian g++ make"
    fedora="$fedora gcc-c++ make"
    arch="$arch gcc make"
    alpine="$alpine build-base linux-headers"
    ;;
esac
if [ "$task" = book-test ]; then
    debian="$debian chromium"
    fedora="$fedora chromium"
    arch="$arch chromium"
    alpine="$alpine chromium"
fi
if [ "$task" = test ] || [ "$task" = lint ]; then
    debian="$debian libgtest-dev python3-pytest python3-pytest-xdist python3-hypothesis"
    debian="$debian netcat-openbsd socat iproute2"
    fedora="$fedora gtest-devel python3-pytest python3-pytest-xdist python3-hypothesis"
    fedora="$fedora nmap-ncat socat iproute"
    arch="$arch gtest python-pytest python-pytest-xdist python-hypothesis"
    arch="$arch openbsd-netcat socat iproute2"
    alpine="$alpine gtest-dev py3-pytest py3-pytest-xdist py3-hypothesis"
    alpine="$alpine netcat-openbsd socat iproute2"
fi
if [ "$task" = fuzz ]; then
    debian="$debian clang libclang-rt-dev python3"
    fedora="$fedora clang compiler-rt python3"
    arch="$arch clang compiler-rt python"
    alpine="$alpine clang compiler-rt python3"
fi
if [ "$task" = lint ]; then
    debian="$debian clang clang-format clang-tidy cppcheck"
    fedora="$fedora clang clang-tools-extra cppcheck"
    arch="$arch clang cppcheck"
    alpine="$alpine clang clang-extra-tools cppcheck"
fi

install_command() {
    if has apt-get; then
        echo "apt-get update && DEBIAN_FRONTEND=noninteractive $debian"
    elif has dnf; then
        echo "$fedora"
    elif has pacman; then
        echo "$arch"
    elif has apk; then
        echo "$alpine"
    fi
}

case $task in
python)
    find_python "$test_modules"
    exit
    ;;
book-python)
    find_python "$book_modules"
    exit
    ;;
tour | test | lint | book | book-test | fuzz | kernels | processors) ;;
*)
    echo "usage: setup.sh tour|test|lint|book|book-test|fuzz|kernels|processors" >&2
    echo "       setup.sh python|book-python" >&2
    exit 2
    ;;
esac

missing_list() {
    missing "$task" | sed '$!s/$/,/' | tr '\n' ' ' | sed 's/ $//'
}

[ -z "$(missing "$task")" ] && exit 0

goal=${task#book-}
echo "missing for 'make $goal': $(missing_list)" >&2
command=$(install_command)
tried=
if [ -n "$command" ] && [ "$(id -u)" = 0 ]; then
    tried=$command
    echo "installing: $tried" >&2
    sh -c "$tried"
elif [ -n "$command" ] && has sudo &&
    { sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ]; }; }; then
    tried="sudo sh -c '$command'"
    echo "installing: $tried" >&2
    sudo sh -c "$command"
fi
[ -z "$(missing "$task")" ] && exit 0
[ -z "$tried" ] || echo "that did not help; still missing: $(missing_list)" >&2
{
    echo "Type this once, as root or behind sudo, then 'make $goal' again:"
    echo "  Debian, Ubuntu:  $debian"
    # What has Debian's kernels or compilers in it is for Debian alone.
    [ -z "$fedora" ] || printf '  %s\n' "Fedora:          $fedora" "Arch:            $arch" \
        "Alpine:          $alpine"
} >&2
exit 1
