"""make doctor: it sees what is missing, says how to get it, and how far the machine gets."""

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from course import Result, open_terminal, run, wait_until

ROOT = Path(__file__).resolve().parents[2]

# All that it may use besides a shell and make: POSIX has these, and BusyBox too.
UTILITIES = ["sh", "make", "cat", "df", "dirname", "grep", "id", "mkdir", "mkfifo", "rm", "rmdir"]
UTILITIES += ["sed", "uname", "getconf"]
# A compiler looks for these in PATH.
COMPILERS = ["cc", "c++", "as", "ld"]
PACKAGES = ["apt-get", "dnf", "pacman", "apk"]
NETWORK = ["nc", "socat", "ip", "ss"]


@pytest.fixture(scope="module")
def environment(request):
    """That of a shell of its own, not of the make that runs the tests."""
    build = request.config.getoption("build")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CXX", "NO_COLOR")
    }
    folder, _, sanitizer = build.partition("/")
    if folder != "build" or sanitizer not in ("", "address", "thread"):
        pytest.skip(f"--build={build}: not a folder that make builds in")
    return {**inherited, "BUILD": build, "SANITIZE": sanitizer}


def examine(environment, before=()):
    """Runs it to its end; returns what the program left behind."""
    command = [*before, "sh", str(ROOT / "tests" / "doctor.sh")]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        timeout=300,
        check=False,
    )
    return Result(command, done.returncode, done.stdout, done.stderr.decode(errors="replace"), 0)


@pytest.fixture
def doctor(request, environment):
    """doctor(NAME=value): what it finds, with these variables in its environment."""
    request.node.reports = []

    def run_doctor(before=(), **variables):
        result = examine({**environment, **variables}, before)
        request.node.reports.append(result)
        return Findings(result)

    return run_doctor


@pytest.fixture(scope="module")
def here_once(environment):
    return examine(environment)


@pytest.fixture
def here(request, here_once):
    """What it finds where nothing was taken away."""
    request.node.reports = [here_once]
    return Findings(here_once)


@pytest.fixture
def whole(here):
    """The same; skips where that is not everything."""
    if here.not_ok() or here.status != 0:
        pytest.skip(f"not everything is there: {here.last}")
    return here


class Findings:
    """The lines: what was looked at, its state, the text, the cure; and the last line."""

    STATES = ("ok", "missing", "limited")

    def __init__(self, result):
        self.result = result
        self.status = result.status
        self.out = result.out.decode()
        assert result.err == "", "something besides the findings"
        title, *lines, empty, self.last = self.out.rstrip("\n").split("\n")
        assert title.endswith(":") and empty == "", self.out
        self.found, cures = {}, {}
        for line in filter(None, lines):
            if line.startswith("    fix: "):
                assert name not in cures, f"two cures for {name}\n{self.out}"
                cures[name] = line.partition("fix: ")[2]
            elif line.startswith("     "):
                cures[name] += "\n" + line.strip()
            else:
                name, (state, text) = line[:20].strip(), line[21:].split(None, 1)
                assert state in self.STATES, line
                assert name not in self.found, f"{name} twice\n{self.out}"
                self.found[name] = (state, text, cures)
        for name, (state, _, _) in self.found.items():
            assert (name in cures) == (state != "ok"), f"{name}: {state}\n{self.out}"
            assert cures.get(name) != "", name
        self.cures = cures

    def state(self, name):
        return self.found[name][0]

    def text(self, name):
        return self.found[name][1]

    def not_ok(self):
        """What is not there, but for what is optional everywhere."""
        optional = {"gnuplot", "port 9999", "descriptors", "net.core.rmem_max", "disk space"}
        return {name for name in self.found if self.state(name) != "ok"} - optional


@pytest.fixture
def path_of(tmp_path):
    """path_of(*names): a PATH with nothing but the utilities and the programs of these names."""

    def make_path(*names):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in [*UTILITIES, *names]:
            real = shutil.which(name)
            if real is not None:
                # No link: a compiler or a Python would look for its parts beside it.
                put_program(folder / name, f"exec '{real}' \"$@\"")
        return str(folder)

    return make_path


def put_program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_here_it_finds_what_the_wire_and_the_tests_find(here, build):
    allowed = run([build / "wire", "-q", "--", "true"]).status == 0
    assert (here.state("the wire") == "ok") == allowed
    assert (here.status == 0) == allowed
    # Who runs this has a compiler, Python and pytest.
    for name in ("kernel", "C compiler", "make", "Python and pytest", "the build", "loopback"):
        assert here.state(name) == "ok"
    if allowed:
        assert here.text("lab 03 on the wire").startswith("seen: ")
        assert list(here.found)[-1] == "lab 03 on the wire", "it is the last one"


def test_everything(whole):
    assert "How far this machine gets: everything;" in whole.last
    assert "\033" not in whole.out, "colours, and stdout is no terminal"


def test_without_a_compiler_it_is_nothing(doctor, path_of):
    findings = doctor(PATH=path_of("git", "python3", *PACKAGES, *NETWORK))
    assert findings.status == 1
    assert findings.state("C compiler") == "missing"
    assert "install" in findings.cures["C compiler"] or "add" in findings.cures["C compiler"]
    assert "not built" in findings.text("the wire")
    assert findings.state("git") == ("ok" if shutil.which("git") else "missing")
    assert "gets: nothing yet" in findings.last


def test_a_compiler_that_cannot_link_is_missing(doctor, path_of, tmp_path):
    folder = path_of()
    script = 'case "$*" in *thread*) echo "ld: cannot find crt1.o" >&2; exit 1 ;; esac'
    put_program(tmp_path / "bin" / "cc", script)
    findings = doctor(PATH=folder)
    assert findings.status == 1
    assert findings.state("C compiler") == "missing"
    assert "cannot find crt1.o" in findings.text("C compiler")


def test_without_git_it_is_everything(whole, doctor, path_of):
    findings = doctor(PATH=path_of("diff", *COMPILERS, "python3", *PACKAGES, *NETWORK))
    assert findings.not_ok() == {"git"}
    assert findings.state("git") == "missing"
    assert "git" in findings.cures["git"]
    assert findings.status == 0
    assert "gets: everything" in findings.last


def test_without_python_it_is_all_but_the_tests(whole, doctor, path_of):
    # There may be Pythons that are found without PATH: none works with this.
    path = path_of("git", *COMPILERS, *PACKAGES, *NETWORK)
    findings = doctor(PATH=path, PYTHONHOME="/nonexistent")
    assert findings.not_ok() == {"Python and pytest"}
    assert "only for make test" in findings.text("Python and pytest")
    assert "pytest" in findings.cures["Python and pytest"]
    assert findings.status == 0
    assert "gets: all but the tests;" in findings.last


def test_without_namespaces_it_is_all_but_the_wire(whole, doctor, without_namespaces):
    findings = doctor(before=without_namespaces)
    assert findings.status == 1
    assert findings.not_ok() == {"the wire", "/proc/sys inside"}
    assert findings.text("the wire").startswith("no network namespace: ")
    assert "sysctl -w user.max_" in findings.cures["the wire"]
    assert findings.text("lab 07 on loopback").startswith("seen: ")
    assert "gets: all but the wire;" in findings.last


def test_a_port_that_is_taken(doctor, path_of):
    def take():
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", 9999))
            listener.listen()
            return True
        return False

    with socket.socket() as listener:
        # This test may run a second time beside itself, and then the other one has the port, for a
        # moment. Whoever has it for longer will do.
        with contextlib.suppress(AssertionError):
            wait_until(take, "the port 9999 free")
        findings = doctor(PATH=path_of("cc", "as", "ld"))
    assert findings.state("port 9999") == "limited"
    assert findings.text("port 9999").endswith("127.0.0.1:9999: Address already in use")
    assert "--port" in findings.cures["port 9999"]


def test_few_descriptors(doctor, path_of):
    few = ["sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh"]
    findings = doctor(before=few, PATH=path_of())
    assert findings.state("descriptors") == "limited"
    assert "1024" in findings.text("descriptors")
    assert "10016" in findings.cures["descriptors"]


@pytest.mark.parametrize(
    "system, release, text",
    [("Darwin", "23.4.0", "Darwin"), ("Linux", "4.4.0-19041-Microsoft", "WSL 1")],
)
def test_another_system(doctor, path_of, tmp_path, system, release, text):
    folder = path_of()
    put_program(
        tmp_path / "bin" / "uname", f"[ $1 = -r ] && echo {release} || echo {system}"
    )
    findings = doctor(PATH=folder)
    assert findings.status == 1
    assert findings.state("kernel") == "missing"
    assert text in findings.text("kernel")


def test_it_installs_nothing_and_asks_for_nothing(doctor, path_of, tmp_path):
    folder = path_of()
    for name in (*PACKAGES, "sudo"):
        put_program(tmp_path / "bin" / name, f"touch '{tmp_path}/installed'")
    findings = doctor(PATH=folder)
    assert "apt-get install" in findings.cures["C compiler"]
    assert not (tmp_path / "installed").exists()


def test_it_leaves_nothing_behind(here, build):
    assert here.state("the build") == "ok"
    # Other tests' doctors may be at work there at this moment, but in folders of their own.
    left = [path for path in build.glob("doctor/*") if not Path("/proc", path.name).exists()]
    assert not left


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_only_on_a_terminal(environment, path_of, no_color):
    terminal, inside = open_terminal()
    with subprocess.Popen(
        ["sh", ROOT / "tests" / "doctor.sh"],
        stdout=inside,
        env={**environment, "PATH": path_of(), "NO_COLOR": "1" if no_color else ""},
    ) as process:
        os.close(inside)
        out = b""
        while b"How far" not in out:
            out += os.read(terminal, 65536)
        process.wait()
    os.close(terminal)
    assert (b"\033[" in out) == (not no_color)


def test_make_doctor_passes_its_status_on(environment, path_of):
    without = {**environment, "PATH": path_of(), "PYTHONHOME": "/nonexistent"}
    done = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", "doctor"],
        env=without,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"gets: nothing yet" in done.stdout
