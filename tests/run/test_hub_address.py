"""Addresses on the hub: what they name, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganpress.errors import ConfigError
from ganpress.run.hub.address import Address, is_address, read_address
from ganpress.run.hub.fetch import digest_of, local_file


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hub:a/b", Address("a/b")),
        ("a/b", Address("a/b")),
        ("hub:a/b@v1.0", Address("a/b", "v1.0")),
        ("hub:a/b/model.onnx", Address("a/b", None, "model.onnx")),
        ("hub:a/b@main/d/m.safetensors", Address("a/b", "main", "d/m.safetensors")),
        ("hub:a/b@refs%2Fpr%2F1", Address("a/b", "refs/pr/1")),
        ("hub:a\\b\\model.onnx", Address("a/b", None, "model.onnx")),
        ("hub:a-1/b.c_d/", Address("a-1/b.c_d")),
    ],
)
def test_an_address_is_read_and_written_back(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert read_address(str(address)) == address
    assert read_address(Path(str(address))) == address


@pytest.mark.parametrize(
    "text",
    ["hub:", "hub:a", "hub:a/b@", "hub:-a/b", "hub:a/b.", "hub:a..b/c", "hub:a b/c", "hub:a/b/../c",
     "hub:a/b//etc/passwd", "hub:a/b/C:/x", f"hub:a/{'b' * 96}"],
)  # fmt: skip
def test_what_cannot_be_a_repository_or_lies_outside_of_it_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="owner/name"):
        read_address(text)


def test_a_path_on_disk_is_left_as_it_is() -> None:
    assert local_file("models/hub.safetensors") == Path("models/hub.safetensors")
    assert is_address(Path("hub:a/b")) and not is_address(Path("models/hub:a"))


def test_the_hash_of_a_small_file_is_the_one_that_git_has(tmp_path: Path) -> None:
    """`echo hello | git hash-object --stdin`, and `sha256sum`."""
    (tmp_path / "f").write_bytes(b"hello\n")
    assert digest_of(tmp_path / "f", "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert digest_of(tmp_path / "f", "0" * 64) == (
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    )
