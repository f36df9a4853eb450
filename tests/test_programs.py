import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import PATIENCE, wait_until

from npm_core import programs
from npm_core.errors import ToolError
from npm_core.programs import Programs, program, version


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def test_a_missing_program_is_named_with_the_way_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "DEBIAN_PROGRAMS", tmp_path)
    with pytest.raises(ToolError, match=r"hhblits: program not found.*make setup.*hhsuite"):
        program("hhblits")
    with pytest.raises(ToolError, match="apt-get install mmseqs2"):
        program("mmseqs")


def test_a_program_on_the_path_comes_first_and_debians_builds_second(monkeypatch, tmp_path):
    def executable(path):
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    debian = executable(tmp_path / "libexec" / "cstranslate-plain")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(programs, "DEBIAN_PROGRAMS", tmp_path / "libexec")
    assert program("cstranslate") == debian
    first = executable(tmp_path / "bin" / "cstranslate")
    assert program("cstranslate") == first


def test_a_program_reads_writes_and_ends():
    with Programs() as running:
        done = running.run(python("print(input() + '!')"), stdin=b"words\n", timeout=60)
    assert (done.failure, done.output) == ("", b"words!\n")


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import sys; sys.exit('some\\n reason')", "failed, exit status 1: some reason"),
        ("import os; os.kill(os.getpid(), 11)", "segmentation fault"),
        ("import os; os.kill(os.getpid(), 9)", "killed from outside"),
        ("import os; os._exit(139)", "segmentation fault"),
        ("import os; os._exit(134)", "aborted, exit status 134"),
    ],
)
def test_a_failure_is_put_into_words(code, failure):
    with Programs() as running:
        assert failure in running.run(python(code)).failure


def with_a_child(told):
    """A program that tells the numbers of its child's process and its own, and hangs."""
    return ["/bin/sh", "-c", 'sleep 3600 & echo something; echo $! $$ > "$0"; wait', str(told)]


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path):
    with Programs() as running:
        done = running.run(with_a_child(tmp_path / "pid"), timeout=3)
    assert done.failure == "no end after 3 s"
    wait_for_ends((tmp_path / "pid").read_text())


ends_by = pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)


def begun(code, *arguments):
    """A process of Python, which may import the core and the tests."""
    root = Path(__file__).parent.parent
    path = os.pathsep.join([str(root), str(root / "tests")])
    return subprocess.Popen(python(code, *arguments), env={**os.environ, "PYTHONPATH": path})


def status_by(number, process, is_ready):
    """Exit status of a process that gets a signal once it is ready."""
    wait_until(is_ready, process)
    process.send_signal(number)
    return process.wait(PATIENCE)


@ends_by
@pytest.mark.usefixtures("hangs_up")
def test_a_process_that_ends_takes_its_program_and_its_children_with_it(tmp_path, number, status):
    code = (
        "import sys; from npm_core.parallel import exit_on_signals;"
        "from npm_core.programs import Programs; exit_on_signals();"
        "running = Programs().__enter__(); running.run(sys.argv[1:])"
    )
    told = tmp_path / "pid"
    process = begun(code, *with_a_child(told))
    assert status_by(number, process, lambda: told.exists() and told.read_text()) == status
    wait_for_ends(told.read_text())


def test_a_program_that_ends_takes_its_children_with_it(tmp_path):
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen(['sleep', '3600'], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL);"
        "print(child.pid)"
    )
    with Programs() as running:
        done = running.run(python(code))
    wait_for_ends(done.output.decode())


def wait_for_ends(pids):
    """Wait for the ends of processes that are no children of ours, from their numbers' text."""
    wait_until(lambda: all(map(ended, pids.split())))


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_over_its_memory_limit_fails_and_one_under_it_does_not():
    code = "bytearray(300 * 2**20)"
    with Programs() as running:
        assert running.run(python(code), memory_limit_gib=2).failure == ""
        assert "MemoryError" in running.run(python(code), memory_limit_gib=0.2).failure


def test_leaving_the_block_kills_what_still_runs():
    with Programs() as running:
        results = []
        sleep = ["sleep", "3600"]
        thread = threading.Thread(target=lambda: results.append(running.run(sleep)))
        thread.start()
        wait_until(lambda: running._running)
    thread.join(PATIENCE)
    assert "killed" in results[0].failure
    with pytest.raises(ToolError, match="stopped"):
        running.run(sleep)


def test_an_argument_is_never_read_by_a_shell(tmp_path):
    with Programs() as running:
        done = running.run(
            python("import sys; print(sys.argv[1])", f"$(touch {tmp_path}/x); `id`"),
            memory_limit_gib=4,
        )
    assert done.output.decode() == f"$(touch {tmp_path}/x); `id`\n"
    assert list(tmp_path.iterdir()) == []


def test_a_program_sees_the_folder_and_the_variables_it_is_given(tmp_path):
    code = "import os; print(os.getcwd(), os.environ['OMP_NUM_THREADS'], os.environ['PATH'])"
    with Programs() as running:
        done = running.run(python(code), cwd=tmp_path, env={"OMP_NUM_THREADS": "3"})
    assert done.output.decode().split() == [str(tmp_path), "3", os.environ["PATH"]]


def test_a_program_has_one_thread_unless_the_user_or_the_caller_says_otherwise(monkeypatch):
    asks = python("import os; print(os.environ['OMP_NUM_THREADS'])")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with Programs() as running:
        assert running.run(asks).output == b"1\n"
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert running.run(asks).output == b"2\n"


def test_of_a_long_complaint_the_end_is_kept():
    with Programs() as running:
        failure = running.run(python("import sys; sys.exit('x' * 400 + ' the reason')")).failure
    assert failure.endswith("x the reason")
    assert len(failure) < 350


@pytest.mark.parametrize(
    ("script", "complaint"),
    [("echo broken >&2; exit 3", "some -h: failed, exit status 3: broken"), ("true", "no output")],
)
def test_a_program_that_cannot_say_its_version_is_an_error(
    monkeypatch, tmp_path, script, complaint
):
    (tmp_path / "some").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "some").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ToolError, match=complaint):
        version("some", "-h")
