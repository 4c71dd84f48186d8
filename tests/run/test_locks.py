"""Locks: one process at a time, no longer than it lives, and a plain message where it cannot be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ganpress.errors import ConfigError, DiskFull
from ganpress.run.locks import Lock, alone

posix = pytest.mark.skipif(os.name != "posix", reason="flock, fork and user ids are POSIX's")

# Run by another interpreter, with the lock file as its argument; `body` runs while it is held.
HOLDER = """
import os, sys, time
from pathlib import Path
from ganpress.run.locks import Lock, alone
lock = Lock(Path(sys.argv[1]))
{body}
sys.stdin.read()
"""
HELD = "print('held', flush=True)"
# A forked child, as a data worker is, that outlives its parent.
FORKED = """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path: Path, body: str = HELD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the lock, and the line it printed."""
    command = [sys.executable, "-c", HOLDER.format(body=body), str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        try:
            yield other, other.stdout.readline().strip()
        finally:
            other.kill()


def test_a_lock_held_by_a_live_process_names_it_and_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path / "run.lock") as (other, said):
        assert said == "held"
        with pytest.raises(ConfigError) as error:
            Lock(tmp_path / "run.lock")
    assert str(error.value) == (
        f"{tmp_path} is in use by process {other.pid}. Wait for it or stop it, or choose another "
        "folder."
    )


def test_the_lock_of_a_killed_process_can_be_taken(tmp_path: Path) -> None:
    with holder(tmp_path / "run.lock") as (other, _):
        other.kill()
        other.wait()
        lock = Lock(tmp_path / "run.lock")
    assert (tmp_path / "run.lock").read_text() == str(os.getpid())
    del lock


@posix
def test_a_forked_worker_that_outlives_its_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "run.lock", FORKED) as (other, worker):
        try:
            with pytest.raises(ConfigError, match=f"in use by process {other.pid}"):
                Lock(tmp_path / "run.lock")
            other.kill()
            other.wait()
            Lock(tmp_path / "run.lock")
        finally:
            os.kill(int(worker), 9)


def test_a_lock_lives_as_long_as_the_last_object_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    first, second = Lock(path), Lock(tmp_path / "." / "run.lock")
    del first
    assert "in use" in asked_elsewhere(path)
    del second
    assert asked_elsewhere(path) == ""


def asked_elsewhere(path: Path) -> str:
    """What another process is told that wants the lock; "" if it gets it."""
    script = "import sys, pathlib, ganpress.run.locks as f; f.Lock(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    return done.stderr


def test_another_thread_may_take_the_lock_of_its_process_again(tmp_path: Path) -> None:
    lock, taken = Lock(tmp_path / "run.lock"), []
    thread = threading.Thread(target=lambda: taken.append(Lock(tmp_path / "run.lock")))
    thread.start()
    thread.join()
    del lock
    assert len(taken) == 1 and "in use" in asked_elsewhere(tmp_path / "run.lock")


def test_a_shorter_process_number_replaces_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text("99999999999")
    lock = Lock(tmp_path / "run.lock")
    assert (tmp_path / "run.lock").read_text() == str(os.getpid())
    del lock


# --- waiting -------------------------------------------------------------------------------------


def test_who_wants_to_be_alone_waits_for_the_other_process(tmp_path: Path) -> None:
    path = tmp_path / "file.lock"
    body = "del lock\nwith alone(Path(sys.argv[1])):\n    print('alone', flush=True)\n    "
    with holder(path, body + "time.sleep(0.4)\n    Path(sys.argv[1] + '.left').touch()") as (_, s):
        assert s == "alone"
        with alone(path):
            assert Path(f"{path}.left").exists()


def test_who_waits_for_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "file.lock"
    body = "del lock\nwith alone(Path(sys.argv[1])):\n    print('alone', flush=True)\n    "
    with holder(path, body + "time.sleep(60)") as (other, _):
        threading.Timer(0.3, other.kill).start()
        began = time.monotonic()
        with alone(path):
            assert 0.2 < time.monotonic() - began < 10


def test_an_error_in_the_block_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone(tmp_path / "file.lock"):
        raise KeyError
    assert asked_elsewhere(tmp_path / "file.lock") == ""


def test_threads_are_alone_one_after_another(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with alone(tmp_path / "file.lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


# --- where a lock cannot be had ------------------------------------------------------------------


@posix
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_there_is_none(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    one, two = Lock(tmp_path / "run.lock"), Lock(tmp_path / "run.lock")
    with alone(tmp_path / "file.lock"), alone(tmp_path / "file.lock"):
        pass
    del one, two
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {
        "run.lock",
        "file.lock",
    }  # nothing that would outlive a killed process as a lock


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to write everywhere."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


@pytest.fixture
def sealed() -> Iterator[Path]:
    """A folder that nobody may write, where everybody may look."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        yield Path(name)
        Path(name).chmod(0o755)


@posix
def test_a_folder_that_is_not_writable_is_named(sealed: Path) -> None:
    for take in (Lock, lambda path: alone(path).__enter__()):
        with as_nobody(), pytest.raises(ConfigError) as error:
            take(sealed / "run.lock")
        assert str(error.value) == (
            f"{sealed / 'run.lock'} cannot be written: Permission denied. Choose another folder."
        )


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.ftruncate", full)
        with pytest.raises(DiskFull, match=r"run\.lock"):
            Lock(tmp_path / "run.lock")
    assert asked_elsewhere(tmp_path / "run.lock") == ""  # nothing is held after the error
