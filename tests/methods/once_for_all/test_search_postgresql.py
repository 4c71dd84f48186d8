"""A real PostgreSQL server as the storage; skipped where Debian's `postgresql` is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from patience import PATIENCE_S
from search_landscapes import separable, small_search

from ganpress.methods.once_for_all.search import storage

WORKER = Path(__file__).parents[2] / "search_landscapes.py"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl."""
    on_path = shutil.which("pg_ctl")
    found = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *([Path(on_path).parent] if on_path else []),
    ]
    return next((folder for folder in found if (folder / "initdb").exists()), None)


class Server:
    """A cluster of its own in a folder, reached by a socket there. It refuses to run as root: root
    runs it as the user postgres, whom the package makes."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "me", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://me@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        log = str(self._folder / "log")
        self._run(
            "pg_ctl", "-D", str(self._folder / "data"), "-w", "-l", log, "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server inherits it, and outlives this call
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, (program, done.returncode)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver: pip install 'psycopg[binary]'")
    folder = Path(tempfile.mkdtemp(prefix="ganpress-pg-"))
    running = Server(found, folder)
    yield running
    running.stop()
    shutil.rmtree(folder)


def test_two_workers_on_two_folders_share_a_study_in_postgresql(
    server: Server, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, str(WORKER)]
    rest = [server.url, "12", "0.05", str(log), ""]
    folders = [tmp_path / "one", tmp_path / "two"]
    workers = [
        subprocess.Popen([*command, str(folder), *rest], stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    said = [worker.communicate(timeout=PATIENCE_S)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0] and said == ["", ""], said
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 12 == len({name for _, name in lines})
    assert len({pid for pid, _ in lines}) == 2
    one, two = ((folder / "trials.json").read_text() for folder in folders)
    assert one == two


def test_a_server_that_is_stopped_in_the_middle_is_waited_for(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.05)
    count, later = iter(range(99)), []

    def evaluate(widths: Mapping[str, int]) -> dict[str, float]:
        if next(count) == 4:
            server.stop()
            later.append(threading.Timer(0.5, server.start))
            later[0].start()
        return separable(widths)

    how = {"study": "stopped", "storage": server.url, "quiet": False}
    found = small_search(tmp_path / "stopped", evaluate, **how)
    later[0].join()
    assert found == small_search(tmp_path / "whole", separable)
    said = capsys.readouterr().err
    assert "does not answer" in said and "is back" in said
