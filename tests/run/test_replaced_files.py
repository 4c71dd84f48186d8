"""What a new file may take the place of: another file, never a device or a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cli_runs import run_cli, teacher_file

from ganpress.errors import ConfigError
from ganpress.run.files import check_ordinary, replace_file, replace_pair


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
    for name in ("a", "link", "dead", "new", "."):
        check_ordinary(tmp_path / name)


def test_a_command_refuses_a_pipe_before_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = teacher_file(tmp_path / "m.safetensors")
    os.mkfifo(tmp_path / "pipe")
    told = run_cli(capsys, "export", model, "--to", "onnx", "-o", tmp_path / "pipe")
    assert told.code == 2 and "is a device or a pipe" in told.err
