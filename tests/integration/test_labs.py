"""The labs: each sees its effect with the course's programs, and says so when it is not there."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from course import ENOUGH, library, open_terminal, run, wait_until

NOT_ALLOWED = 77
ROOT = Path(__file__).resolve().parents[2]
LABS = sorted(path.stem for path in (ROOT / "tests" / "labs").glob("[0-9][0-9]-*.c"))


@pytest.fixture
def lab(build, tmp_path, request):
    """lab(name, *options) runs a lab to its end, with its results in a folder of the test's."""
    request.node.reports = []

    def run_lab(name, *options, programs=None, before=()):
        command = [*before, build / "tests" / "labs" / name]
        command += ["--build", programs or build, "--results", tmp_path / "labs", *options]
        result = run(command, limit=2 * ENOUGH)
        request.node.reports.append(result)
        return result

    return run_lab


def skip_if_not_allowed(result):
    if result.status == NOT_ALLOWED:
        reason = result.out.decode().partition("not shown here: ")[2]
        pytest.skip(" ".join(reason.split("\n\n")[0].split()))


def without_numbers(text):
    return re.sub(r"\d+(\.\d+)?", "N", text)


@pytest.mark.parametrize("name", LABS)
def test_quick_lab_sees_its_effect(lab, tmp_path, name):
    result = lab(name, "--quick", "on")
    skip_if_not_allowed(result)
    assert result.status == 0, result.report()
    out = result.out.decode()
    assert "NOT SEEN" not in out
    assert "seen: " in out
    assert "\033" not in out, "colours, and stdout is no terminal"
    folder = tmp_path / "labs" / name[:2]
    rows = [line.split("\t") for path in folder.glob("*.row") for line in path.open()]
    assert rows, "no row for the tour's table"
    for row in rows:
        assert len(row) == 5 and row[0] == name[:2], row
    assert list(folder.glob("*.tsv")), "no table"
    chapter = without_numbers((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    for said in folder.glob("*.txt"):
        text = said.read_text(encoding="utf-8").strip()
        if without_numbers(text.splitlines()[0]) not in chapter:
            continue
        for verdict in re.findall(r"(?m)^  seen: (.*)$", text):
            assert without_numbers(verdict) in chapter, "the chapter has another verdict"


def test_a_lab_takes_no_program_of_a_later_stage():
    """What a chapter's lab runs, its reader has met."""
    for source in sorted((ROOT / "tests" / "labs").glob("[0-9][0-9]-*.c")):
        for stage in re.findall(r'"(\d\d)-[a-z-]+"', source.read_text(encoding="utf-8")):
            assert stage <= source.name[:2], source.name


def test_what_was_not_made_by_the_lab_is_left_alone(lab, tmp_path):
    folder = tmp_path / "labs" / "07"
    assert lab("07-binary-struct", "--part", "byte-order").status == 0
    (folder / "notes.txt").write_text("mine", encoding="ascii")
    (folder / "upper-server-1.log").mkdir()
    assert (folder / "byte-order.txt").exists()
    # A part that is made anew does not take the others, which a run before made, off the list.
    assert "upper" in (folder / "parts.list").read_text(encoding="ascii").split()

    # Where a name is taken that the lab would need, it says so, and touches nothing.
    result = lab("07-binary-struct", "--quick", "on")
    assert result.status == 1, result.report()
    assert "upper-server-1.log is not the lab's" in result.err, result.report()
    (folder / "upper-server-1.log").rmdir()
    (folder / "upper.txt").unlink()
    (folder / "upper.txt").write_text("mine too", encoding="ascii")
    result = lab("07-binary-struct", "--quick", "on")
    assert result.status == 0, result.report()
    assert not (folder / "byte-order.txt").exists(), "of the run before"
    assert (folder / "notes.txt").read_text(encoding="ascii") == "mine"


def test_a_folder_of_somebody_else_is_left_alone(lab, tmp_path):
    folder = tmp_path / "labs" / "07"
    folder.mkdir(parents=True)
    for name in ("parts.list", "made.list"):
        (folder / name).write_text("mine", encoding="ascii")
        result = lab("07-binary-struct", "--part", "byte-order")
        assert result.status == 1, result.report()
        assert f"{name} is not the lab's" in result.err, result.report()
        assert (folder / name).read_text(encoding="ascii") == "mine"
        (folder / name).unlink()


def test_output_that_cannot_be_written(build, tmp_path):
    with open("/dev/full", "wb") as full:
        command = [build / "tests" / "labs" / "07-binary-struct", "--part", "byte-order"]
        result = subprocess.run(
            [*command, "--results", tmp_path],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert result.returncode == 1, result.stderr
    assert b"stdout: No space left on device" in result.stderr


# Stage 04's client where that will do.
SENDS_FIRST = """#!/bin/sh
case "$*" in *--send-bytes*) exec '{build}/05-bufsize/client' "$@" ;; esac
exec '{build}/04-timeout/client' "$@"
"""

# What takes the idea away from a program of the stage: options that come last, and so count, or
# a script. Of stage 09 none does: its lab has tests of its own.
WITHOUT_THE_IDEA = {
    "02-reuseaddr": {"02-reuseaddr/server": "--reuse-addr off"},
    "03-listen-queue": {"03-listen-queue/server": "--backlog 4096"},
    "04-timeout": {"04-timeout/server": "--timeout 0"},
    "05-bufsize": {
        "05-bufsize/server": "--recv-buffer 65536",
        "05-bufsize/client": SENDS_FIRST,
    },
    "06-keepalive-nodelay": {
        "06-keepalive-nodelay/server": "--keepalive off --fastopen 0",
        "06-keepalive-nodelay/client": "--nodelay off",
    },
    "07-binary-struct": {"07-binary-struct/server": "--handler echo"},
    "08-threaded": {"08-threaded/server": "--threads off"},
}

# A server in the place of stage 01's that does not read to the end before it closes.
CARELESS = """
import socket, sys
host = sys.argv[sys.argv.index("--host") + 1]
port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 9999
with socket.create_server((host, port)) as listener:
    print("listening on %s:%d" % listener.getsockname(), flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400000)
        connection.recv(100)
        connection.sendall(b"x" * 100000)
        connection.close()
"""


@pytest.fixture
def programs(build, tmp_path):
    """A folder with all the built programs, where some can be put in the place of others."""
    folder = tmp_path / "programs"
    for stage in build.glob("[0-9][0-9]-*"):
        (folder / stage.name).mkdir(parents=True)
        for program in ("server", "client"):
            (folder / stage.name / program).symlink_to(stage / program)
    return folder


def replace(program, script):
    program.unlink()
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize("name", WITHOUT_THE_IDEA)
def test_without_the_idea_the_verdict_is_not_seen(lab, build, programs, name):
    for program, options in WITHOUT_THE_IDEA[name].items():
        script = f"#!/bin/sh\nexec '{build / program}' \"$@\" {options}\n"
        if options.startswith("#!"):
            script = options.format(build=build)
        replace(programs / program, script)
    result = lab(name, "--quick", "on", programs=programs)
    skip_if_not_allowed(result)
    assert result.status == 1, result.report()
    out = result.out.decode()
    summary = re.search(r"lab \d\d: (\d+) of (\d+) seen", out)
    assert summary, out
    assert int(summary[1]) == 0, f"a part saw its effect all the same\n{out}"


def test_a_machine_that_stands_still_is_no_missing_effect(build, programs, tmp_path):
    """A verdict on times is not told where the machine was late: here the part itself is."""
    begun, still = tmp_path / "begun", tmp_path / "still"
    still.touch()
    replace(
        programs / "06-keepalive-nodelay" / "client",
        f"#!/bin/sh\n: >'{begun}'\nwhile [ -e '{still}' ]; do sleep 0.01; done\n"
        f"exec '{build / '06-keepalive-nodelay' / 'client'}' \"$@\" --nodelay off\n",
    )
    command = [build / "tests" / "labs" / "06-keepalive-nodelay", "--part", "nagle"]
    with subprocess.Popen(
        [*command, "--build", programs, "--results", tmp_path / "labs"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        wait_until(begun.exists, "the part at work")
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        still.unlink()
        os.killpg(process.pid, signal.SIGCONT)
        out = process.communicate(timeout=60)[0].decode()
    assert "NOT SEEN" not in out
    assert "not shown here: this machine is too slow to tell" in out, out
    assert process.returncode == NOT_ALLOWED


# setsockopt(2) that leaves out one option, and says that all went well.
LEAVES_OUT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

int setsockopt(int socket, int level, int name, const void *value, socklen_t size)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    if (level == atoi(getenv("LEFT_OUT_LEVEL")) && name == atoi(getenv("LEFT_OUT_NAME")))
        return 0;
    return real(socket, level, name, value, size);
}
"""


@pytest.mark.parametrize(
    "name, part, level, option",
    [
        ("02-reuseaddr", "ports", socket.IPPROTO_IP, 24),  # IP_BIND_ADDRESS_NO_PORT
        ("02-reuseaddr", "steering", socket.SOL_SOCKET, 51),  # SO_ATTACH_REUSEPORT_CBPF
        ("04-timeout", "defer-accept", socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT),
        ("05-bufsize", "late", socket.SOL_SOCKET, socket.SO_RCVBUF),
        ("05-bufsize", "low-water", socket.IPPROTO_TCP, 25),  # TCP_NOTSENT_LOWAT
    ],
)
def test_a_listener_of_the_labs_own_without_its_option(
    lab, build, tmp_path, name, part, level, option
):
    if re.search("address|thread", build.name):
        pytest.skip("the sanitizer has its own setsockopt")
    skip_if_not_allowed(seen := lab(name, "--part", part))
    assert seen.status == 0, seen.report()
    before = ["env", f"LD_PRELOAD={library(tmp_path, LEAVES_OUT)}", f"LEFT_OUT_LEVEL={level}"]
    result = lab(name, "--part", part, before=[*before, f"LEFT_OUT_NAME={option}"])
    assert result.status == 1, result.report()
    assert "NOT SEEN" in result.out.decode()


# send(2) that does not come back before it has sent all, whatever interrupts it.
SENDS_ALL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

ssize_t send(int socket, const void *bytes, size_t size, int flags)
{
    ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    size_t sent = 0;
    for (ssize_t part; sent < size; sent += (size_t)part)
        if ((part = real(socket, (const char *)bytes + sent, size - sent, flags)) < 0)
            return part;
    return (ssize_t)sent;
}
"""


def test_a_send_that_takes_all_is_no_part_of_a_send(lab, build, tmp_path):
    if re.search("address|thread", build.name):
        pytest.skip("the sanitizer has its own send")
    before = ["env", f"LD_PRELOAD={library(tmp_path, SENDS_ALL)}"]
    result = lab("01-basic", "--part", "part-of-a-send", before=before)
    skip_if_not_allowed(result)
    assert result.status == 1, result.report()
    assert "NOT SEEN" in result.out.decode()


# open(2) in a network where one setting is missing.
HAS_NOT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, int) = dlsym(RTLD_NEXT, "open");
    if (strcmp(path, getenv("HAS_NOT")) != 0)
        return real(path, flags, 0666);
    errno = ENOENT;
    return -1;
}
"""


@pytest.mark.parametrize(
    "name, part, setting, since, seen",
    [
        ("02-reuseaddr", "death", "net.ipv4.tcp_migrate_req", "5.14", 1),
        ("03-listen-queue", "clamp", "net.core.somaxconn", "6.3", 0),
        ("04-timeout", "linear-syns", "net.ipv4.tcp_syn_linear_timeouts", "6.5", 0),
    ],
)
def test_what_the_kernel_does_not_have_is_named(
    lab, build, tmp_path, name, part, setting, since, seen
):
    if re.search("address|thread", build.name):
        pytest.skip("the sanitizer has its own open")
    path = f"/proc/sys/{setting.replace('.', '/')}"
    before = ["env", f"LD_PRELOAD={library(tmp_path, HAS_NOT)}", f"HAS_NOT={path}"]
    result = lab(name, "--part", part, before=before)
    out = result.out.decode()
    if "is there since" not in out:
        skip_if_not_allowed(result)
    assert result.status == NOT_ALLOWED, result.report()
    assert f"not shown here: {setting} is there since Linux {since}" in out, out
    assert out.count("  seen: ") == seen, out


# uname(2) of another kernel.
IS_OLDER = """
#include <string.h>
#include <sys/utsname.h>

int uname(struct utsname *system)
{
    memset(system, 0, sizeof *system);
    strcpy(system->release, "5.10.0-32-amd64");
    return 0;
}
"""


def test_a_kernel_before_the_setting_did_anything(lab, build, tmp_path):
    if re.search("address|thread", build.name):
        pytest.skip("a sanitizer comes first")
    before = ["env", f"LD_PRELOAD={library(tmp_path, IS_OLDER)}"]
    result = lab("02-reuseaddr", "--part", "death", before=before)
    out = result.out.decode()
    if "is there since" not in out:
        skip_if_not_allowed(result)
    assert result.status == NOT_ALLOWED, result.report()
    assert "is there since Linux 5.14; this is Linux 5.10.0-32-amd64" in out
    assert out.count("  seen: ") == 1, out


@pytest.mark.parametrize(
    "name, part, program, options",
    [
        ("03-listen-queue", "patience", "03-listen-queue/server", "--backlog 4096"),
        ("03-listen-queue", "next-client", "03-listen-queue/server", "--backlog 4096"),
        ("04-timeout", "closed-window", "04-timeout/server", "--user-timeout 0"),
    ],
)
def test_a_part_whose_program_has_not_its_option(lab, build, programs, name, part, program, options):
    replace(programs / program, f"#!/bin/sh\nexec '{build / program}' \"$@\" {options}\n")
    result = lab(name, "--part", part, programs=programs)
    skip_if_not_allowed(result)
    assert result.status == 1, result.report()
    out = result.out.decode()
    assert "NOT SEEN" in out or "FAILED" in out


def test_a_careless_server_fails_the_lab_of_stage_01(lab, programs):
    script = f"#!{sys.executable} -I\n{CARELESS}"
    replace(programs / "01-basic" / "server", script)
    result = lab("01-basic", "--part", "lost-reply", programs=programs)
    skip_if_not_allowed(result)
    assert result.status == 1, result.report()
    assert "NOT SEEN" in result.out.decode()


@pytest.mark.parametrize("name", ["02-reuseaddr", "04-timeout", "07-binary-struct", "08-threaded"])
def test_a_lab_without_need_of_a_wire_runs_on_loopback(lab, without_namespaces, name):
    result = lab(name, "--quick", "on", before=without_namespaces)
    if b"too slow to tell" in result.out:
        skip_if_not_allowed(result)
    assert result.status == 0, result.report()
    assert "127.0.0.1" in result.out.decode()


@pytest.mark.parametrize("name", ["01-basic", "03-listen-queue", "05-bufsize"])
def test_a_lab_that_needs_the_wire_says_what_would_allow_it(lab, without_namespaces, name):
    result = lab(name, "--quick", "on", before=without_namespaces)
    assert result.status == NOT_ALLOWED, result.report()
    out = result.out.decode()
    assert "not shown here: no network namespace" in out
    assert "sysctl -w user.max_" in out
    assert "NOT SEEN" not in out


def processes_of_session(session):
    """The processes of a session, but those that have ended and were not waited for."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path("/proc", process, "stat").read_text(encoding="utf-8")
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(process))
    return found


def test_a_killed_lab_leaves_nothing_behind(build, tmp_path):
    command = [build / "tests" / "labs" / "04-timeout", "--build", build]
    with subprocess.Popen(
        [*command, "--results", tmp_path / "labs"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        # Several parts, their servers and clients.
        wait_until(lambda: len(processes_of_session(process.pid)) > 5, "the lab at work")
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of_session(process.pid), "the end of all that it started")


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_only_on_a_terminal(build, tmp_path, no_color):
    environment = {**os.environ, "NO_COLOR": "1" if no_color else ""}
    terminal, inside = open_terminal()
    command = [build / "tests" / "labs" / "07-binary-struct", "--part", "byte-order"]
    subprocess.run(
        [*command, "--results", tmp_path / "labs"],
        stdout=inside,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=True,
    )
    os.close(inside)
    out = os.read(terminal, 65536)
    os.close(terminal)
    assert (b"\033[" in out) == (not no_color)
    assert b"\033" not in (tmp_path / "labs" / "07" / "byte-order.txt").read_bytes()


class Terminal:
    """A lab on a terminal, and somebody who answers what it asks."""

    def __init__(self, command, **environment):
        keep = {name: value for name, value in os.environ.items() if name not in ("CI", "ASK")}
        self.out = b""
        self.terminal, inside = open_terminal()
        self.process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=inside,
            stderr=subprocess.DEVNULL,
            env={**keep, "NO_COLOR": "1", **environment},
        )
        os.close(inside)

    def read_until(self, text):
        """What was said up to the text, or to the end."""
        while text not in self.out:
            try:
                self.out += os.read(self.terminal, 65536)
            except OSError:  # nobody has the other side open any more
                break
        said, _, self.out = self.out.partition(text)
        return said.decode().replace("\r", "")

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\n")

    def end(self):
        said = self.read_until(b"no such text")
        os.close(self.terminal)
        return said, self.process.wait(60)


@pytest.fixture
def cut_short(build, tmp_path):
    lab_07 = build / "tests" / "labs" / "07-binary-struct"
    return [lab_07, "--part", "cut-short", "--build", build, "--results", tmp_path / "labs"]


@pytest.mark.parametrize(
    "guess, verdict", [("22", "exactly"), ("32", "not near"), ("nonsense\n22", "exactly")]
)
def test_a_part_asks_before_it_tells(cut_short, guess, verdict):
    terminal = Terminal(cut_short)
    before = terminal.read_until(b"Enter to skip: ")
    assert "guess first" in before and "  A client sends a record and 10 bytes" in before
    assert "seen: " not in before and "server$" not in before
    terminal.type(guess)
    said, status = terminal.end()
    assert status == 0, said
    assert f"your guess: {guess[-2:]} bytes; measured: 22: {verdict}\n" in said
    assert f"your guesses: {int(verdict == 'exactly')} of 1 were near\n" in said


@pytest.mark.parametrize("letter, near", [("b", 1), ("A", 0)])
def test_a_choice(cut_short, letter, near):
    terminal = Terminal([word if word != "cut-short" else "upper" for word in cut_short])
    assert "b  it becomes another number\n" in terminal.read_until(b"Enter to skip: ")
    terminal.type(letter)
    said, status = terminal.end()
    assert status == 0, said
    assert f"your guess: {letter.lower()}; what was seen: b, it becomes another" in said
    assert f"your guesses: {near} of 1 were near\n" in said


def test_who_does_not_want_to_guess(cut_short):
    terminal = Terminal(cut_short)
    terminal.read_until(b"Enter to skip: ")
    terminal.type("")
    said, status = terminal.end()
    assert status == 0, said
    assert "seen: " in said and "guess" not in said


@pytest.mark.parametrize("environment", [{"ASK": "0"}, {"CI": "true"}, {"quick": "on"}])
def test_nothing_is_asked(cut_short, environment):
    quick = environment.pop("quick", "off")
    words = [word if word != "cut-short" or quick == "off" else "upper" for word in cut_short]
    said, status = Terminal([*words, "--quick", quick], **environment).end()
    assert status == 0, said
    assert "seen: " in said and "uess" not in said


def test_commands_fit_80_columns(build, tmp_path):
    command = [build / "tests" / "labs" / "07-binary-struct", "--quick", "on", "--build", build]
    said, status = Terminal([*command, "--results", tmp_path / "labs"]).end()
    assert status == 0, said
    commands = re.findall(r"(?m)^  \w*\$ (?:.*\\\n)*.*", said)
    assert any("\\\n" in line for line in commands), said
    for line in "\n".join(commands).splitlines():
        assert len(line) <= 80, line


def test_an_unknown_part_is_a_wrong_command_line(lab):
    result = lab("07-binary-struct", "--part", "nonsense")
    assert result.status == 2
    assert "nonsense" in result.err


class Page(HTMLParser):
    """The addresses on a page, and whether its elements are closed."""

    VOID = {"meta", "img", "link", "br", "hr"}

    def __init__(self, text):
        super().__init__()
        self.addresses, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("p", "li") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag


def test_the_page_shows_all_that_was_found(lab, tmp_path):
    skip_if_not_allowed(lab("01-basic", "--quick", "on"))
    lab("07-binary-struct", "--part", "byte-order")
    folder = tmp_path / "labs"
    assert run(["sh", ROOT / "tests" / "labs" / "page.sh", folder]).status == 0
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    for address in page.addresses:
        target = address.lstrip("#")
        assert "//" not in address, f"{address}: needs a network"
        assert f'id="{target}"' in text if address[0] == "#" else (folder / address).is_file()
    assert "01/lost-reply.svg" in page.addresses
    assert "01/lost-reply.pcap" in page.addresses
    lost = (folder / "01" / "lost-reply.tsv").read_text(encoding="ascii").splitlines()[1]
    assert lost.split("\t")[1] in text and "byte order" in text
