#!/bin/sh
# The tour: each stage's server started, driven with its client, and what the two say. All of
# it runs on the loopback interface, on ports that the kernel chooses.
cd "$(dirname "$0")/.." || exit 1
here=build/tour
rm -rf "$here"
mkdir -p "$here" || exit 1
mkfifo "$here/ready" || exit 1

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
server= silent= before=

end() {
    [ -z "$1" ] || { kill "$1" && wait "$1"; } 2>/dev/null
}
trap 'end "$silent"; end "$server"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "$bold$1$plain; the server's log:" >&2
    cat "$here/server.log" >&2
    exit 1
}

# chapter NN-NAME: its heading, and what is new, in the words of its source.
chapter() {
    number=${1%%-*}
    printf '\n%s== %s ==%s\nnew: %s\n' "$bold" "$1" "$plain" \
        "$(sed -n "s/^ \*   $number  //p" "$1/server.c")"
    [ -z "$before" ] || printf '     %s lines more in its server than in %s: make diff-%s\n' \
        "$(diff "$before/server.c" "$1/server.c" | grep -c '^>')" "$before" "$number"
    before=$1
}

say() {
    printf '\n# %s\n' "$*"
}

# start STAGE OPTION...: a server; returns once it is ready, with its port in $port, or with 1.
start() {
    program=build/$1/server
    shift
    printf '$ %s\n' "$program $*"
    $program "$@" >"$here/ready" 2>"$here/server.log" &
    server=$!
    port=
    read -r line <"$here/ready" && port=${line##*:} && echo "$line" && return
    wait "$server"
    echo "exit status $?: $(sed 's/^\[[^]]*\] //' "$here/server.log" | tail -n 1)"
    server=
    return 1
}

stop() {
    end "$server"
    server=
}

# server_says PATTERN: the lines of the server's log that matter here.
server_says() {
    grep -E "$1" "$here/server.log" | sed 's/^/    /'
}

# client STAGE ARGUMENT...: runs it, and shows what it says.
client() {
    program=build/$1/client
    shift
    printf '$ %s\n' "$program --port $port $*" | sed -E 's/(x{20})x+/\1.../g'
    $program --port "$port" "$@" >"$here/client.out" 2>"$here/client.log" </dev/null
    status=$?
    sed -E 's/^/    /; s/(x{20})x+/\1.../g' "$here/client.log"
    sed -E 's/^/    /; s/(x{20})x+/\1.../g' "$here/client.out" | awk 1
    return "$status"
}

# keep_silent: a client that connects and says nothing, until it is ended.
keep_silent() {
    say "a client that connects and then says nothing"
    printf '$ %s &\n' "build/03-listen-queue/client --port $port --connections 1"
    build/03-listen-queue/client --port "$port" --connections 1 2>"$here/silent.log" &
    silent=$!
    until grep -q holding "$here/silent.log"; do
        kill -0 "$silent" 2>/dev/null || fail "the silent client could not connect"
        sleep 0.02
    done
}

speak() {
    end "$silent"
    silent=
}

xs=$(printf '%5000s' '' | tr ' ' x)

chapter 01-basic
start 01-basic --port 0 -v || fail "no server"
client 01-basic Hello || fail "no reply"
server_says connected\|received\|sent\|closed
say "5000 bytes: one send, but a stream has no messages, and recv takes what is there"
client 01-basic "$xs" || fail "no reply"
server_says 'received [0-9]{3}' | sed -E 's/(x{20})x+/\1/g'
stop

chapter 02-reuseaddr
say "stage 01, stopped while a client is connected, and started again"
start 01-basic --port 0 || fail "no server"
keep_silent
stop
start 01-basic --port "$port" && fail "stage 01 could bind"
speak
say "the same with stage 02"
start 02-reuseaddr --port 0 || fail "no server"
keep_silent
stop
start 02-reuseaddr --port "$port" || fail "stage 02 could not bind"
speak
stop

chapter 03-listen-queue
start 03-listen-queue --port 0 --backlog 2 || fail "no server"
server_says 'backlog|queue'
say "one client is served, backlog + 1 wait in the accept queue, the next cannot connect"
client 04-timeout --connections 6 --connect-timeout 1 && fail "all could connect"
stop

chapter 04-timeout
say "stage 03 serves one client at a time: a silent one stops all others"
start 03-listen-queue --port 0 || fail "no server"
keep_silent
client 04-timeout --timeout 1 Hello && fail "there was a reply"
speak
stop
say "stage 04 waits for so long, and no longer"
start 04-timeout --port 0 --timeout 1 || fail "no server"
keep_silent
client 08-threaded Hello || fail "no reply"
server_says closed
speak
stop

chapter 05-bufsize
say "small buffers: little is on its way at a time"
start 05-bufsize --port 0 --recv-buffer 2304 --send-buffer 4608 || fail "no server"
server_says SO_
client 05-bufsize --recv-buffer 2304 --send-bytes 5000000 || fail "no reply"
stop
say "the kernel's own, which grow as need be"
start 05-bufsize --port 0 || fail "no server"
client 05-bufsize --send-bytes 5000000 || fail "no reply"
stop

chapter 06-keepalive-nodelay
say "5000 bytes come back as 4096 and 904: without TCP_NODELAY the small rest waits for an ACK"
start 06-keepalive-nodelay --port 0 --nodelay off || fail "no server"
client 06-keepalive-nodelay "$xs" "$xs" "$xs" "$xs" || fail "no reply"
stop
start 06-keepalive-nodelay --port 0 --nodelay on || fail "no server"
client 06-keepalive-nodelay "$xs" "$xs" "$xs" "$xs" || fail "no reply"
stop

chapter 07-binary-struct
say "a record of 22 bytes in two sends; however they arrive, the server waits for the whole"
start 07-binary-struct --port 0 --handler record -v || fail "no server"
client 07-binary-struct --split on --record 1 ab 18446744073709551615 -3 4 1.5 || fail "no reply"
server_says 'received|sent'
stop

chapter 08-threaded
start 08-threaded --port 0 || fail "no server"
server_says 'at most'
keep_silent
say "and another client, at the same time"
client 08-threaded Hello || fail "no reply"
speak
stop
start 08-threaded --port 0 -q || fail "no server"
client 08-threaded -q --clients 200 Hello >/dev/null || fail "no reply"
say "200 clients at once had their replies"
stop

printf '\n%sThat was the tour.%s Now read 01-basic/, then make diff-02, make diff-03 …\n' "$bold" "$plain"
