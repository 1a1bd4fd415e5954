#!/bin/sh
# Does this machine have what the course needs? One line for each thing that was looked at:
# ok, limited or missing; below a line that is not ok, what to type or do about it. Installs
# nothing, and writes only to build/. Needs no more than a shell, make, and what POSIX has
# beside them; so it uses tools such as ss or timeout only where it can do without them.
#
# Exit status: 0 where all is there that 'make tour' shows, 1 where something of it is missing.
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build}
make=${MAKE:-make}
cc=${CC:-cc}
cxx=${CXX:-c++}

green='' yellow='' red='' bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    green=$(printf '\033[32m') yellow=$(printf '\033[33m') red=$(printf '\033[31m')
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

has() {
    command -v "$1" >/dev/null 2>&1
}

# ---- the lines ----

line() {
    printf '%-20s %s%-8s%s %s\n' "$2" "$1" "$3" "$plain" "$4"
}

# What is missing or limited always comes with its cure, which may have several lines.
cure() {
    printf '%s\n' "$1" | sed -e '1s/^/    fix: /' -e '2,$s/^ */         /'
}

ok() {
    line "$green" "$1" ok "$2"
}

limited() {
    line "$yellow" "$1" limited "$2"
    cure "$3"
}

missing() {
    line "$red" "$1" missing "$2"
    cure "$3"
}

# How to install a package, which every system calls by another name. Nothing is installed here.
install() {
    sudo=''
    [ "$(id -u)" = 0 ] || sudo="sudo "
    if has apt-get; then
        echo "${sudo}apt-get update && ${sudo}apt-get install -y $1"
    elif has dnf; then
        echo "${sudo}dnf install -y $2"
    elif has pacman; then
        echo "${sudo}pacman -S --needed $3"
    elif has apk; then
        echo "${sudo}apk add $4"
    else
        echo "install it with this system's package manager (on Debian it is called: $1)"
    fi
}

# A setting below /proc/sys; nothing where it cannot be read.
setting() {
    cat "/proc/sys/$1" 2>/dev/null
}

# The first line of what is piped in, by the shell alone.
first_line() {
    IFS= read -r first && printf '%s\n' "$first"
    cat >/dev/null
}

# ---- a place to work ----

# Below build/, as /tmp may forbid to run what was just compiled. Other doctors may be at work.
work=$build/doctor/$$
server=
clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    rm -rf "$work"
    rmdir "$build/doctor" 2>/dev/null
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

printf '%sWhat this machine has for the course:%s\n\n' "$bold" "$plain"

needed=yes # all that 'make tour' shows
tests=yes  # what 'make test' needs besides
wire=no
built=no
runs=yes   # the servers, by hand
loopback=yes

# ---- the kernel ----

system=$(uname -s) release=$(uname -r)
if [ "$system" != Linux ]; then
    missing kernel "$system is not Linux; the stages and labs show what Linux does" \
        "use a Linux virtual machine or container on it: docs/instructor.md"
    needed=no runs=no
else
    case $release in
    *Microsoft*) # with a capital letter; WSL 2, which has a kernel, writes it small
        missing kernel "WSL 1 has no Linux kernel" \
            "wsl --set-version DISTRIBUTION 2    # in Windows; wsl -l -v lists them"
        needed=no
        ;;
    *) ok kernel "Linux $release" ;;
    esac
fi

if ! mkdir -p "$work" 2>/dev/null; then
    missing "the folder" "nothing can be written to $build/" \
        "cp -R . ~/course && cd ~/course && make doctor"
    needed=no runs=no
fi

# ---- what builds the programs ----

compiler=no headers=no
if ! has "$cc"; then
    missing "C compiler" "there is no $cc" "$(install g++ gcc-c++ gcc build-base)"
elif [ ! -d "$work" ]; then
    missing "C compiler" "$cc, not tried: there is no folder for a program" "see the folder, above"
else
    cat >"$work/thread.c" <<'C'
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
static void *work(void *argument)
{
    return argument;
}
int main(void)
{
    pthread_t thread;
    int here, error = pthread_create(&thread, NULL, work, &here);
    void *result = NULL;
    if (error == 0)
        pthread_join(thread, &result);
    errno = error;
    if (result != &here)
        perror("pthread_create");
    return result != &here;
}
C
    if ! "$cc" -std=c11 -D_GNU_SOURCE -pthread "$work/thread.c" -o "$work/thread" \
        2>"$work/error"; then
        missing "C compiler" "$cc does not compile a program: $(first_line <"$work/error")" \
            "$(install g++ gcc-c++ gcc build-base)"
    elif ! "$work/thread" 2>"$work/error"; then
        compiler=yes
        missing "C compiler" "a program with a thread does not run: $(first_line <"$work/error")" \
            "ulimit -u    # how many processes and threads this user may have"
    else
        compiler=yes
        ok "C compiler" "$("$cc" --version 2>/dev/null | first_line); a threaded program runs"
    fi
fi

# MAKE may hold options.
# shellcheck disable=SC2086
version=$($make --version 2>/dev/null | first_line)
gnu=no
case $version in
GNU\ Make*)
    gnu=yes
    ok make "$version"
    ;;
*)
    missing make "$make is not GNU make" "$(install make make make make)"
    needed=no
    ;;
esac

if has git; then
    ok git "$(git --version | first_line)"
elif has diff; then
    missing git "without it, make diff-NN uses diff" "$(install git git git git)"
else
    missing git "and no diff, so there is no make diff-NN" "$(install git git git git)"
fi

if [ $compiler = yes ]; then
    if echo '#include <linux/rtnetlink.h>' | "$cc" -E - >/dev/null 2>&1; then
        headers=yes
        ok "kernel headers" "linux/rtnetlink.h"
    else
        missing "kernel headers" "no linux/rtnetlink.h; the stages build, the labs do not" \
            "$(install linux-libc-dev kernel-headers linux-api-headers linux-headers)"
    fi
else
    missing "kernel headers" "not looked for: that takes a C compiler" \
        "see C compiler, above"
fi

# ---- what only the tests need ----

only="only for make test"
packages=$(install "python3-pytest python3-hypothesis" "python3-pytest python3-hypothesis" \
    "python-pytest python-hypothesis" "py3-pytest py3-hypothesis")
if python=$(sh tests/setup.sh python); then
    ok "Python and pytest" "$python has pytest and hypothesis ($only)"
elif has python3 && python3 -c '' 2>/dev/null; then
    missing "Python and pytest" "python3 has no pytest or no hypothesis ($only)" "$packages"
    tests=no
else
    missing "Python and pytest" "no Python ($only)" "$packages"
    tests=no
fi

if has "$cxx" && echo '#include <gtest/gtest.h>' | "$cxx" -E -x c++ - >/dev/null 2>&1; then
    ok GoogleTest "gtest/gtest.h ($only)"
else
    missing GoogleTest "no $cxx that finds gtest/gtest.h ($only)" \
        "$(install "g++ libgtest-dev" "gcc-c++ gtest-devel" "gcc gtest" "build-base gtest-dev")"
    tests=no
fi

if { has nc || has socat; } && has ip && has ss; then
    ok "nc, ip and ss" "all there ($only)"
else
    missing "nc, ip and ss" "one of nc (or socat), ip, ss is not there ($only)" \
        "$(install "netcat-openbsd iproute2" "nmap-ncat iproute" \
            "openbsd-netcat iproute2" "netcat-openbsd iproute2")"
    tests=no
fi

# ---- the course's programs ----

targets=all
[ $headers = no ] || targets="all experiments"
# shellcheck disable=SC2086
build_all() {
    $make --no-print-directory $targets >"$work/build.log" 2>&1
}
if [ $compiler = no ] || [ $gnu = no ] || [ ! -d "$work" ]; then
    missing "the build" "not tried" "what is missing above"
    runs=no
elif build_all; then
    built=yes
    ok "the build" "the programs are in $build/"
else
    why=$(grep -i 'error' "$work/build.log" | first_line)
    missing "the build" "make failed: ${why:-$(first_line <"$work/build.log")}" \
        "make clean; make    # shows all that the compiler says"
    runs=no
fi

# ---- the wire ----

# What a program said in its log, without who said it when.
said() {
    sed 's/^\[[^]]*\] //' "$work/error"
}

who=
[ "$(id -u)" != 0 ] || who="; as root, so look once more as the user who will type"
if [ $built = no ] || [ $headers = no ]; then
    missing "the wire" "user namespaces not tried: build/wire is not built" "what is missing above"
elif "$build/wire" -q -- sh -c : 2>"$work/error"; then
    wire=yes
    ok "the wire" "user and network namespaces$who"
else
    # The first line is what failed, the others are what would allow it (hosts.c).
    why=$(said | first_line) allow=$(said | sed 1d)
    missing "the wire" "${why:-no reason given}" \
        "${allow:-$build/wire -- true    # its message; then see docs/instructor.md}"
fi

# The labs change settings of the two hosts. One that was refused is told by its name.
settings="net/core/somaxconn net/ipv4/tcp_syncookies net/ipv4/tcp_fastopen net/ipv4/tcp_rmem
net/ipv4/tcp_abort_on_overflow net/ipv4/tcp_synack_retries net/ipv4/tcp_slow_start_after_idle"
if [ $wire = no ]; then
    missing "/proc/sys inside" "not tried: there is no wire" "see the wire, above"
else
    # Each gets the value that it has.
    # shellcheck disable=SC2016,SC2086
    refused=$("$build/wire" -q -- sh -c 'for name; do
        value=$(cat "/proc/sys/$name") && echo "$value" >"/proc/sys/$name" || printf " %s" "$name"
    done' sh $settings 2>/dev/null)
    if [ -z "$refused" ]; then
        ok "/proc/sys inside" "the labs can change the settings of the wire's two hosts"
    else
        limited "/proc/sys inside" "cannot be changed on the wire's hosts:$refused" \
            "in a container: --security-opt systempaths=unconfined; else a newer kernel"
    fi
fi

# ---- limits and settings ----

# Stage 08 with 10 000 clients: a socket each, and a few files besides (common/descriptors.c).
clients=10000
enough=$((clients + 16))
# -H is not of POSIX; a shell without it falls to the second case.
# shellcheck disable=SC3045
files=$(ulimit -Hn 2>/dev/null)
case $files in
unlimited) ok descriptors "no limit (ulimit -Hn)" ;;
'' | *[!0-9]*)
    limited descriptors "this shell does not tell the limit" "bash -c 'ulimit -Hn'" ;;
*)
    if [ "$files" -ge $enough ]; then
        ok descriptors "$files (ulimit -Hn): enough for stage 08 with 10 000 clients"
    else
        limited descriptors "$files (ulimit -Hn): stage 08 has room for $((files - 16)) clients" \
            "sudo prlimit --pid \$\$ --nofile=$enough    # for this terminal"
    fi
    ;;
esac

# Starts a server and waits for its ready line. The pipe's end tells of a server that has ended,
# so nothing waits for a guessed time.
start_server() {
    rm -f "$work/ready"
    mkfifo "$work/ready" || return 1
    "$@" >"$work/ready" 2>"$work/error" &
    server=$!
    IFS= read -r ready <"$work/ready"
}

stop_server() {
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}

if [ $built = no ]; then
    missing loopback "not tried: no server is built" "what is missing above"
    missing "port 9999" "not tried: no server is built" "what is missing above"
else
    if start_server "$build/01-basic/server" --host 127.0.0.1 --port 0 &&
        [ "$("$build/04-timeout/client" -q --host 127.0.0.1 --port "${ready##*:}" \
            --connect-timeout 5 --timeout 5 Hello 2>"$work/error")" = Hello ]; then
        ok loopback "the echo of stage 01 came back from ${ready##* }"
    else
        missing loopback "no echo from 127.0.0.1: $(said | first_line)" \
            "sudo ip link set lo up    # else: a VPN or firewall that filters 127.0.0.1"
        needed=no loopback=no
    fi
    stop_server
    # Stage 02, as SO_REUSEADDR takes no offence at what an earlier server left behind.
    if start_server "$build/02-reuseaddr/server" --host 127.0.0.1 --port 9999; then
        ok "port 9999" "free"
    else
        limited "port 9999" "$(said | sed -n '$p')" \
            "ss -ltnp 'sport = :9999'    # who has it; or give server and client: --port 9998"
    fi
    stop_server
fi

# Lab 05 measures with buffers up to this size, and says so where it is small.
most=$(setting net/core/rmem_max)
if [ -z "$most" ]; then
    limited net.core.rmem_max "cannot be read" "cat /proc/sys/net/core/rmem_max"
elif [ "$most" -lt 212992 ]; then
    limited net.core.rmem_max "$most, less than the kernel's usual 212992" \
        "sudo sysctl -w net.core.rmem_max=212992"
else
    ok net.core.rmem_max "$most: the most that SO_RCVBUF can ask for"
fi

control=$(setting net/ipv4/tcp_congestion_control)
ok "congestion control" "${control:-not known} outside; the labs have a network with Reno"

if has gnuplot; then
    ok gnuplot "$(gnuplot --version 2>/dev/null | first_line) (optional)"
else
    missing gnuplot "optional: the labs draw no plots, all else is as it is with it" \
        "$(install gnuplot-nox gnuplot gnuplot gnuplot)"
fi

# All that 'make labs' and 'make test' leave behind takes far less.
free=$(df -Pk . 2>/dev/null | sed -n '$p' | { read -r _ _ _ kib _ && echo "$kib"; })
case $free in
'' | *[!0-9]*) limited "disk space" "df does not tell how much is free" "df -k ." ;;
*)
    if [ "$free" -ge 102400 ]; then
        ok "disk space" "$((free / 1024)) MiB free"
    else
        limited "disk space" "$((free / 1024)) MiB free; 100 are comfortable" "df -k ."
    fi
    ;;
esac

# ---- a lab ----

# The verdict of a lab in its quick form. What it leaves goes with the folder of work.
verdict() {
    "$build/tests/labs/$1" --quick on --build "$build" --results "$work/labs" \
        >"$work/lab" 2>"$work/error"
    status=$?
    sed -n 's/^  \(seen: .*\)/\1/p; s/^  \(NOT SEEN: .*\)/\1/p; s/^  \(FAILED.*\)/\1/p' \
        "$work/lab" | first_line
    return $status
}

if [ $built = no ] || [ $headers = no ]; then
    missing "a lab" "not tried: none is built" "what is missing above"
elif [ $wire = yes ]; then
    if seen=$(verdict 03-listen-queue); then
        ok "lab 03 on the wire" "$seen"
    else
        missing "lab 03 on the wire" "${seen:-$(said | first_line)}" \
            "$build/tests/labs/03-listen-queue    # all that it says"
        wire=no
    fi
elif seen=$(verdict 07-binary-struct); then
    # What "all but the wire" promises.
    ok "lab 07 on loopback" "$seen"
else
    missing "lab 07 on loopback" "${seen:-$(said | first_line)}" \
        "$build/tests/labs/07-binary-struct    # all that it says"
    needed=no
fi

# ---- how far this machine gets ----

echo
if [ $compiler = no ] || [ $headers = no ] || [ $built = no ] || [ $wire = no ]; then
    needed=no
fi
if [ $runs = no ]; then
    far="nothing yet; begin with the first line above that is missing"
elif [ $headers = no ]; then
    far="the stages alone; neither labs nor tests, for want of the kernel headers"
elif [ $loopback = no ]; then
    far="the labs on the wire alone; nothing gets through on 127.0.0.1"
elif [ $needed = yes ] && [ $tests = yes ]; then
    far="everything; the stages, the labs, the tests"
elif [ $needed = yes ]; then
    far="all but the tests; the stages and the labs"
elif [ $tests = yes ]; then
    far="all but the wire; the stages, the tests, and on 127.0.0.1 the labs that do without it"
else
    far="all but the wire and the tests; the stages, and on 127.0.0.1 the labs that do without it"
fi
printf '%sHow far this machine gets: %s.%s\n' "$bold" "$far" "$plain"
[ $needed = yes ]
