"""What a file is, by its first bytes: the content decides, whatever the name's ending says.

Magic numbers stand in one table; what needs a second look (zip archives, texts, protobuf,
safetensors) has a function each. Nothing is unpickled, decompressed beyond a block, or run.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

from ganpress.sniff.protobuf import protobuf
from ganpress.sniff.texts import text

Group = Literal[
    "pointer", "page", "empty", "text", "archive", "picture", "picture of another kind", "media",
    "network", "torch", "pickle", "safetensors", "model", "arrays", "array", "database", "unknown",
]  # fmt: skip
HEAD = 65536  # bytes that are looked at
HEADER = 100_000_000  # bytes: the longest header that safetensors allows
PICTURES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".hif",
    ".avif",
)  # fmt: skip
CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors", ".pkl", ".bin", ".onnx", ".h5", ".pb")
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".opdownload", ".download", ".aria2")


@dataclass(frozen=True)
class Seen:
    """What a file is.

    Attributes:
        what: in words, with an article: "a git-lfs pointer".
        group: what can be done with it.
        short: how one sees that it is cut short, or "".
        inside: names of the files in an archive, those of use first.
        remedy: what to do, where that does not depend on what was wanted.
        needs: of a picture that nothing here reads yet: the line that installs what reads it.
    """

    what: str
    group: Group
    short: str = ""
    inside: Sequence[str] = ()
    remedy: str = ""
    needs: str = ""


# Offset, bytes there, what it is.
MAGIC: tuple[tuple[int, bytes, str, Group], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG picture", "picture"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", "picture"),
    (0, b"GIF8", "a GIF picture", "picture"),
    (0, b"II*\0", "a TIFF picture", "picture"),
    (0, b"MM\0*", "a TIFF picture", "picture"),
    (8, b"WEBP", "a WebP picture", "picture"),
    (0, b"8BPS", "a Photoshop file", "picture of another kind"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", "picture of another kind"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", "picture of another kind"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", "picture of another kind"),
    (0, b"#?RADIANCE", "a Radiance HDR picture", "picture of another kind"),
    (0, b"\0\0\x01\0", "an icon", "picture of another kind"),
    (0, b"%PDF-", "a PDF document", "media"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video", "media"),
    (8, b"AVI ", "an AVI video", "media"),
    (8, b"WAVE", "a sound", "media"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "archive"),
    (0, b"BZh", "a bzip2 archive", "archive"),
    (0, b"\xfd7zXZ\0", "an xz archive", "archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "archive"),
    (0, b"\x04\x22\x4d\x18", "an lz4 archive", "archive"),
    (257, b"ustar", "a tar archive", "archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5)", "network"),
    (0, b"PAR1", "a Parquet table", "database"),
    (0, b"\x81\xa6params", "a Flax checkpoint (msgpack)", "network"),
    (0, b"\x93NUMPY", "a single NumPy array (.npy)", "array"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "network"),
    (0, b"GGUF", "a GGUF file", "network"),
    (4, b"TFL3", "a TensorFlow Lite network", "network"),
    (4, b"ET12", "an ExecuTorch program", "network"),
    (0, b"ftrt", "a TensorRT engine", "network"),
    (0, b"\x12\x01\0\0\0\0\0\0", "an MXNet file", "network"),
    (16, b"\xde\xc0\xef\xbe", "an LMDB database", "database"),
    (0, b"SQLite format 3\0", "an SQLite database", "database"),
    (0, b"\0\x05\x16\x07", "what macOS stores beside a file as ._NAME", "pointer"),
)
TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF"  # the magic number of torch.save before zip files
HEIC_EXTRA = "pip install 'ganpress[heic]'"
"""Installs what reads HEIC and HEIF, and a Pillow new enough for AVIF."""
_HEIF_BRANDS = {
    b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"hevc": "a HEIC picture",
    b"hevx": "a HEIC picture", b"heim": "a HEIC picture", b"heis": "a HEIC picture",
    b"mif1": "a HEIF picture", b"msf1": "a HEIF picture",
}  # fmt: skip
_AVIF_BRANDS = (b"avif", b"avis")
_ZIP = (b"PK\3\4", b"PK\5\6", b"PK\7\b")
_TF_SHARD = re.compile(r"\.data-\d+-of-\d+$")
_TF_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # ends a .index file
_AGAIN = "copy or download it again"
JOIN = (
    "join it to one file (python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER "
    "FILE.pth), and give that file"
)


def look(file: Path | bytes) -> Seen:
    """What a file, or the bytes of one, is. Group "unknown" where nothing is recognised.

    Raises: OSError where the file cannot be read.
    """
    name = file.name if isinstance(file, Path) else ""
    with file.open("rb") if isinstance(file, Path) else io.BytesIO(file) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        seen = _look(stream, stream.read(HEAD), size, name)
    in_doubt = bool(seen.short) or seen.group in ("empty", "unknown")
    if in_doubt and isinstance(file, Path) and _is_unfinished(file):
        return Seen(f"an unfinished download ({seen.what})", "empty", remedy="let it finish")
    return seen


def _is_unfinished(path: Path) -> bool:
    beside = path.with_name(path.name + ".aria2")
    return path.suffix.lower() in UNFINISHED or beside.is_file()


def _look(stream: BinaryIO, head: bytes, size: int, name: str) -> Seen:
    if not size:
        return Seen("empty (0 bytes)", "empty", remedy=_AGAIN)
    if not head.strip(b"\0"):
        what = f"nothing but zero bytes{'' if size <= HEAD else ' at its start'} ({size:,} bytes)"
        return Seen(what, "empty", remedy=_AGAIN)
    asked: tuple[Callable[[], Seen | None], ...] = (
        lambda: _shard(name),
        lambda: _archive(stream, head) if head[:4] in _ZIP else None,
        lambda: _safetensors(stream, head, size) if head[8:9] == b"{" else None,
        lambda: _pickle(head),
        lambda: _magic(head),
        lambda: _gzip(head),
        lambda: _by_structure(stream, head, size),
        lambda: _as_text(head, size),
    )
    return next((seen for ask in asked if (seen := ask())), Seen(_first(head), "unknown"))


def _first(head: bytes) -> str:
    return f"of no known kind (it starts with {head[:12]!r})"


def _as_text(head: bytes, size: int) -> Seen | None:
    found = text(head, size)
    return Seen(found[0], found[1], remedy=found[2]) if found else None


def _magic(head: bytes) -> Seen | None:
    for offset, there, what, group in MAGIC:
        if head.startswith(there, offset):
            return Seen(what, group, remedy="give the file itself" if group == "pointer" else "")
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return Seen("a BMP picture", "picture")
    if head[4:8] == b"ftyp":
        return _branded(head[8:12])
    if head[:1] == b"P" and re.match(rb"P[1-7]\s", head):
        return Seen("a PNM picture", "picture of another kind")
    return None


def _branded(brand: bytes) -> Seen:
    """A file of the ISO base media format, by its main brand."""
    if brand in _HEIF_BRANDS:
        return Seen(_HEIF_BRANDS[brand], "picture", needs="" if has_heif() else HEIC_EXTRA)
    if brand in _AVIF_BRANDS:
        return Seen("an AVIF picture", "picture", needs="" if _has_avif() else HEIC_EXTRA)
    return Seen("a QuickTime video" if brand == b"qt  " else "an MP4 video", "media")


def is_heif(head: bytes) -> bool:
    """Whether these are the first bytes of a HEIC or HEIF picture."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


@cache
def has_heif() -> bool:
    """Whether the package that reads HEIC is installed; it is imported when a HEIC file is met."""
    return importlib.util.find_spec("pillow_heif") is not None


@cache
def _has_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _pickle(head: bytes) -> Seen | None:
    if head.startswith(TORCH_LEGACY):
        return Seen("a torch checkpoint", "torch")
    if re.match(rb"\x80[\x02-\x05]", head):
        return Seen("a Python pickle", "pickle")
    if re.match(rb"(\(dp|\(lp|c(copy_reg|__builtin__|numpy|collections|torch)[.\w]*\n)", head):
        return Seen("a Python pickle of the oldest kind", "pickle")
    return None


def _gzip(head: bytes) -> Seen | None:
    if head[:2] != b"\x1f\x8b":
        return None
    try:
        start = zlib.decompressobj(31).decompress(head, 512)
    except zlib.error:
        return Seen("a damaged gzip archive", "archive")
    is_tar = start.startswith(b"ustar", 257)
    return Seen(f"a gzip archive{' (.tar.gz)' if is_tar else ''}", "archive")


def _safetensors(stream: BinaryIO, head: bytes, size: int) -> Seen | None:
    length = int.from_bytes(head[:8], "little")
    if not 2 <= length <= HEADER:
        return None
    what = "a .safetensors file"
    if size < 8 + length:
        short = f"its header takes {8 + length:,} bytes, there are {size:,}"
        return Seen(what, "safetensors", short=short)
    stream.seek(8)
    try:
        header = json.loads(stream.read(length))
        ends = [t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Seen("a damaged .safetensors file", "safetensors", short="its header is no JSON")
    short = f"it has {size:,} of its {whole:,} bytes" if size < whole else ""
    if "ganpress" in (header.get("__metadata__") or {}):
        return Seen("a ganpress model", "model", short=short)
    return Seen(what, "safetensors", short=short)


def _archive(stream: BinaryIO, head: bytes) -> Seen:
    """A zip file by its members: torch.save's, NumPy's, TorchScript's, Keras', or any other."""
    try:
        with zipfile.ZipFile(stream) as archive:
            names, short = [n for n in archive.namelist() if not n.endswith("/")], ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        length = int.from_bytes(head[26:28], "little")
        names = [head[30 : 30 + length].decode("utf-8", "replace")]
        short = "its end, with the table of contents, is missing"
    if not names:
        return Seen("a zip archive with nothing in it", "empty", remedy=_AGAIN)
    ends = {n.rsplit("/", 1)[-1] for n in names}
    if ends & {"constants.pkl", "bytecode.pkl"} or any("/code/" in n for n in names):
        return Seen("a TorchScript program", "network", short=short)
    if "data.pkl" in ends:
        return Seen("a torch checkpoint", "torch", short=short)
    if all(n.endswith(".npy") for n in names):
        return Seen("an .npz file of NumPy arrays", "arrays", short=short)
    if "model.weights.h5" in ends:
        return Seen("a Keras network (.keras)", "network", short=short)
    if "archive_format" in ends:
        return Seen("a torch.export program (.pt2)", "network", short=short)
    if ends & {"[Content_Types].xml", "AndroidManifest.xml"}:
        return Seen("a document or program packed as zip", "media", short=short)
    return Seen(f"a zip archive{_content(names)}", "archive", short=short, inside=_useful(names))


def _content(names: Sequence[str]) -> str:
    pictures = sum(n.lower().endswith(PICTURES) for n in names)
    if pictures:
        return f" of {pictures} picture{'s' if pictures > 1 else ''}"
    return f" of {len(names)} file{'s' if len(names) != 1 else ''}"


def _useful(names: Sequence[str]) -> tuple[str, ...]:
    """Checkpoints, then pictures, of an archive; what macOS adds is left out."""
    plain = [n for n in names if not n.startswith("__MACOSX/")]
    ranked = [[n for n in plain if n.lower().endswith(ends)] for ends in (CHECKPOINTS, PICTURES)]
    return (*ranked[0], *ranked[1])


def _shard(name: str) -> Seen | None:
    """What only the name shows: the tensors of a TensorFlow checkpoint are bare numbers, and those
    of a distributed checkpoint of torch begin as a file of torch does."""
    if name.endswith(".distcp"):
        return Seen("a part of a distributed checkpoint", "pointer", remedy=JOIN)
    is_shard = _TF_SHARD.search(name)
    return Seen("the data of a TensorFlow checkpoint", "network") if is_shard else None


def _by_structure(stream: BinaryIO, head: bytes, size: int) -> Seen | None:
    """TensorFlow's index, Torch7's files, ONNX and other protobuf messages."""
    stream.seek(max(0, size - 8))
    if stream.read(8) == _TF_TABLE:
        return Seen("the index of a TensorFlow checkpoint", "network")
    if head[:4] in (b"\4\0\0\0", b"\3\0\0\0") and (b"nn." in head[:96] or b"torch." in head[:96]):
        return Seen("a Torch7 (Lua) file (.t7)", "network")
    what = protobuf(head, size)
    return Seen(what, "network") if what else None
