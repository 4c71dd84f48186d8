"""What a new file may take the place of: another file, never a device or a pipe."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from cli_runs import run_cli, teacher_file

from ganpress.errors import ConfigError
from ganpress.run.files import check_ordinary, replace_file, replace_pair, write_file


def test_a_pipe_is_refused_and_stays_a_pipe(tmp_path: Path) -> None:
    """As a device would: /dev/null itself is not risked in a test."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is a device or a pipe"):
        replace_file(pipe, lambda file: file.write(b"x"))
    for head, body in ((pipe, tmp_path / "b"), (tmp_path / "h", pipe)):
        with pytest.raises(ConfigError, match="is a device or a pipe"):
            replace_pair(head, b"x", body, b"y")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_nothing_is_written_into_the_folder_of_devices() -> None:
    for name in ("/dev/null", "/dev/stdout", "/dev/ganpress.onnx"):
        with pytest.raises(ConfigError, match="is a device or a pipe"):
            check_ordinary(Path(name))
    check_ordinary(Path("/dev/shm/a.onnx"))


def test_files_folders_and_links_to_files_are_ordinary(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dead").symlink_to("nowhere")
    check_ordinary(tmp_path)
    for name in ("a", "link", "dead", "new"):
        replace_file(tmp_path / name, lambda file: file.write(b"b"))
        assert (tmp_path / name).read_bytes() == b"b"
    assert not (tmp_path / "nowhere").exists()


def test_a_command_refuses_a_pipe_before_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = teacher_file(tmp_path / "m.safetensors")
    os.mkfifo(tmp_path / "pipe")
    told = run_cli(capsys, "export", model, "--to", "onnx", "-o", tmp_path / "pipe")
    assert told.code == 2 and "is a device or a pipe" in told.err


def test_what_killed_processes_had_begun_goes_with_the_next_file_of_the_folder(
    tmp_path: Path,
) -> None:
    code = f"""
import os
from pathlib import Path
from ganpress.run.files import replace_file
for name in ("net.onnx", "other.onnx"):
    if os.fork() == 0:
        path = Path({str(tmp_path)!r}) / name
        replace_file(path, lambda file: (file.write(b"half"), os._exit(9)))
    os.wait()
    begun = [path.name for path in Path({str(tmp_path)!r}).iterdir()]
    assert len(begun) == 1 and begun[0].endswith(".tmp"), begun
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / ".another-machines-1-1.tmp").write_bytes(b"half")
    write_file(tmp_path / "net.onnx", b"whole")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"net.onnx", ".another-machines-1-1.tmp"}


def test_a_folder_is_listed_once_however_many_files_a_process_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, of: listed.append(path) or glob(path, of))
    for i in range(5):
        write_file(tmp_path / f"{i}.png", b"picture")
    assert listed == [tmp_path]


def test_what_a_living_process_has_begun_stays(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"first")
        write_file(tmp_path / "net.onnx", b"second")  # as from another thread

    mine, get_ident = iter(range(100)), "ganpress.run.files.threading.get_ident"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(get_ident, lambda: next(mine))
        replace_file(tmp_path / "net.onnx", write)
    assert (tmp_path / "net.onnx").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
