"""Rude and honest clients, mixed, for minutes, against the servers that serve many at once.

soak.py BUILD MINUTES

BUILD is where the programs are, such as build/address. Every answer has to be right, to the
byte. In between the clients pause: then a server must have as many descriptors and threads as
before the first one, and no more memory than in the first pause. At the end comes SIGTERM, in
the middle of it all: the servers have to be gone within their grace, with status 0.
"""

import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from course import Server, receive, receive_all, reset, wait_until  # noqa: E402
from every_stage import RUDE, rude_flood  # noqa: E402

STAGES = [stage for stage in ("08-threaded", "09-event-loop") if (ROOT / stage).is_dir()]
HANDLERS = ("echo", "line", "record")
CLIENTS, MOST_CLIENTS = 32, 24  # more come than are served at once
ROUNDS, GRACE = 4, 2.0
PATIENCE = 120  # seconds: a client may have to wait until many rude ones have timed out
RECORD_SIZE = 22


def say(text):
    print(text, flush=True)


def message(handler, chance):
    """What an honest client sends, and what has to come back."""
    if handler == "record":
        records = [bytearray(chance.randbytes(RECORD_SIZE)) for _ in range(chance.randint(1, 40))]
        answers = [bytes(r[:4] + bytes(r[4:6]).upper() + r[6:]) for r in records]
        return b"".join(records), b"".join(answers)
    if handler == "line":
        lines = [b"a" * chance.randint(0, 8000) + b"\n" for _ in range(chance.randint(1, 4))]
        return b"".join(lines), b"".join(lines).upper()
    data = chance.randbytes(chance.randint(1, 60_000))
    return data, data


def send_in_pieces(connection, data, chance):
    at = 0
    while at < len(data):
        size = chance.choice((1, 5, 100, 4096, 100_000))
        connection.sendall(data[at : at + size])
        at += size


def honest(server, handler, chance):
    with server.connect(timeout=PATIENCE) as connection:
        for _ in range(chance.randint(1, 5)):
            sent, expected = message(handler, chance)
            sender = threading.Thread(target=send_in_pieces, args=(connection, sent, chance))
            sender.start()
            came = receive(connection, len(expected))
            sender.join()
            if came != expected:
                raise AssertionError(f"{handler}: {len(came)} of {len(expected)} bytes, or others")
        connection.shutdown(socket.SHUT_WR)
        if rest := receive_all(connection):
            raise AssertionError(f"{handler}: {len(rest)} bytes too many")


def silent(connection):
    connection.settimeout(0.5)
    try:
        connection.recv(1)
    except OSError:
        pass
    connection.close()


def trickle(connection):
    for _ in range(10):
        connection.sendall(b"x")
        time.sleep(0.05)
    reset(connection)


class Load:
    """Clients in threads, from start() to pause()."""

    def __init__(self, servers):
        self.servers = servers
        self.running = threading.Event()
        self.counts = {"honest": 0, "rude": 0}
        self.broken = []
        self.lock = threading.Lock()
        self.threads = []

    def run(self, seed):
        chance = random.Random(seed)
        while self.running.is_set() and not self.broken:
            server, handler = chance.choice(self.servers)
            kind = chance.choice(("honest", "rude"))
            try:
                if kind == "honest":
                    honest(server, handler, chance)
                else:
                    try:
                        chance.choice([*RUDE, rude_flood, silent, trickle])(server.connect(PATIENCE))
                    except ConnectionError:
                        pass
            except Exception as error:
                self.broken.append(f"{server.command[0]} {handler}, {kind}: {error!r}")
            with self.lock:
                self.counts[kind] += 1

    def start(self, round_number):
        self.running.set()
        self.threads = [
            threading.Thread(target=self.run, args=(f"{round_number}-{i}",)) for i in range(CLIENTS)
        ]
        for thread in self.threads:
            thread.start()

    def pause(self):
        self.running.clear()
        for thread in self.threads:
            thread.join()
        if self.broken:
            raise AssertionError("\n".join(self.broken))


def resident(server):
    """KiB of memory."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def start_server(build, stage, handler, folder):
    log = Path(folder, f"{stage}-{handler}.log")
    options = ["--port", "0", "-q", "--handler", handler, "--max-clients", str(MOST_CLIENTS)]
    options += ["--timeout", "5", "--grace", str(GRACE)]
    return Server(build / stage / "server", options, log).read_ready_line()


def check_end(server, handler):
    """SIGTERM, while a client waits for an answer, one says nothing, and one never reads."""
    chance = random.Random(handler)
    sent, expected = message(handler, chance)
    with server.connect() as waiting, server.connect(), server.connect() as stuck:
        stuck.settimeout(0.2)
        try:
            while True:
                stuck.sendall(b"x" * 65536)
        except OSError:
            pass
        waiting.sendall(sent)
        # A byte of the answer: the server has accepted this client.
        came = receive(waiting, 1)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        came += receive_all(waiting)
        status = server.wait(GRACE + 20)
        took = time.monotonic() - start
    assert came == expected, f"{handler}: {len(came)} of {len(expected)} bytes at the end"
    assert status == 0, f"status {status}"
    # Where the sanitizer looks for leaks the end takes longer.
    assert took < GRACE + 5, f"{took:.1f} s until the end, and {GRACE} s were its grace"
    return took


def soak(build, minutes, folder):
    servers = [
        (start_server(build, stage, handler, folder), handler)
        for stage in STAGES
        for handler in HANDLERS
    ]
    load = Load(servers)
    try:
        before = [(server.descriptors(), server.threads()) for server, _ in servers]
        memory = []
        for round_number in range(ROUNDS):
            load.start(round_number)
            end = time.monotonic() + minutes * 60 / ROUNDS
            while time.monotonic() < end and not load.broken:
                time.sleep(0.2)
            load.pause()
            for (server, _), (descriptors, threads) in zip(servers, before):
                wait_until(
                    lambda s=server, d=descriptors, t=threads: (s.descriptors(), s.threads())
                    == (d, t),
                    f"{descriptors} descriptors and {threads} threads, as before: there are "
                    f"{server.descriptors()} and {server.threads()}",
                )
            memory.append([resident(server) for server, _ in servers])
            say(
                f"  round {round_number + 1} of {ROUNDS}: {load.counts['honest']} honest clients, "
                f"{load.counts['rude']} rude; resident {', '.join(map(str, memory[-1]))} KiB"
            )
        for (server, _), first, last in zip(servers, memory[0], memory[-1]):
            assert last < first * 1.15 + 4096, f"{server.command}: from {first} to {last} KiB"
        took = [check_end(server, handler) for server, handler in servers]
        say(f"  SIGTERM: gone after {', '.join(f'{seconds:.1f}' for seconds in took)} s")
    finally:
        for server, _ in servers:
            server.clean_up()
            if alarm := re.search(r".*(Sanitizer|runtime error:)[\s\S]*", server.log):
                say(f"{' '.join(server.command)}\n{alarm[0]}")
                load.broken.append("a sanitizer's alarm")
    assert not load.broken, load.broken


def main():
    build, minutes = ROOT / sys.argv[1], float(sys.argv[2])
    # What is freed is not kept for long, or it would look like a leak.
    os.environ["ASAN_OPTIONS"] = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    os.environ["TSAN_OPTIONS"] = "atexit_sleep_ms=0"
    say(f"{sys.argv[1]}: {', '.join(STAGES)}, {minutes:g} minutes")
    with tempfile.TemporaryDirectory() as folder:
        try:
            soak(build, minutes, folder)
        except AssertionError as broken:
            sys.exit(f"broken: {broken}")


main()
