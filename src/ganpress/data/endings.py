"""Which files are pictures, by Pillow's own registry, and what to say of the files that are not."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache

from PIL import Image

from ganpress.sniff import HEIC_EXTRA, has_heif, is_heif

# What a file may hold whatever its ending says: formats with a signature that nothing else has.
_SIGNED = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000")

# Formats that are looked for only in files of their own endings: a short signature, or none, fits
# files that are no pictures at all.
_BY_ENDING = (
    "MPO", "DIB", "PPM", "TGA", "QOI", "PSD", "DDS", "ICO", "CUR", "ICNS", "PCX", "DCX", "SGI",
    "SUN", "XBM", "XPM", "MSP", "PCD", "PIXAR", "FITS", "FTEX", "BLP", "GBR",
)  # fmt: skip

# Pillow has a reader or a writer of these, and they are left alone all the same: EPS would start
# Ghostscript on a file from the web; the rest are drawings, films, numbers that it cannot decode by
# itself, or kinds that it gives up. A format of a later Pillow is not read until it stands above.
NOT_READ = (
    "EPS", "WMF", "PDF", "FLI", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC", "PALM", "IM", "IMT",
    "SPIDER", "XVTHUMB", "MCIDAS",
)  # fmt: skip

_HEIF = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")

_ADVICE = {
    HEIC_EXTRA: ".heic .heics .heif .heifs .hif .avif .avifs",
    "give each as a path of its own": ".npz .zip .tar .tgz .tar.gz .tbz2 .tar.bz2 "
    ".txz .tar.xz",
    "an archive: unpack it": ".7z .rar .gz .bz2 .xz .zst .tar.zst .cbr .lha",
    "a drawing: save it as PNG": ".svg .svgz .eps .ps .ai .pdf .wmf .emf",
    "a film: save its frames as PNG": ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp "
    ".ogv .fli .flc",
    "a camera's raw data: develop it to PNG or JPEG": ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf "
    ".sr2 .orf .rw2 .raf .raw .pef .srw .x3f .3fr .iiq .kdc .mrw",
    "save it as PNG": ".jxl .jxr .exr .hdr .xcf .kra .psb .webp .jp2 .clip .heifc",
    "give each the ending of its format, such as .jpg": "",
}  # fmt: skip
_ADVICE_OF = {
    ending: text for text, endings in _ADVICE.items() for ending in (endings.split() or [""])
}

# What lies beside pictures and is none: named only in a message that other files have caused.
_BESIDE = frozenset(
    [
        ".txt",
        ".text",
        ".caption",
        ".tags",
        ".md",
        ".rst",
        ".json",
        ".jsonl",
        ".ndjson",
        ".csv",
        ".tsv",
        ".xml",
        ".xmp",
        ".aae",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".log",
        ".html",
        ".htm",
        ".url",
        ".lnk",
        ".css",
        ".js",
        ".py",
        ".sh",
        ".bat",
        ".ipynb",
        ".md5",
        ".sha1",
        ".sha256",
        ".license",
        "readme",
        "license",
        "licence",
        "copying",
        "notice",
        "authors",
        "citation",
        "changelog",
        "manifest",
        "checksums",
    ]
)
# What file managers leave behind: never named. So is every hidden file and folder.
_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"})


def _registered() -> dict[str, str]:
    """Ending -> format, of the formats that are read and that the Pillow here can open."""
    found = {
        ending: kind
        for ending, kind in Image.registered_extensions().items()
        if kind in (*_SIGNED, *_BY_ENDING) and (kind in Image.OPEN or kind == "MPO")
    }
    if has_heif():
        found |= dict.fromkeys(_HEIF, "HEIF")
    return found


@cache
def _register_heif() -> bool:
    if has_heif():
        importlib.import_module("pillow_heif").register_heif_opener()
    return "HEIF" in Image.OPEN


_KINDS = _registered()

EXTENSIONS = tuple(e for e in _COMMON if e in _KINDS) + tuple(sorted(_KINDS.keys() - {*_COMMON}))
"""Endings looked for in folders and archives, in any case: what the Pillow here can read."""

ENDINGS = f"{' '.join(EXTENSIONS[: len(_COMMON)])} and {len(EXTENSIONS) - len(_COMMON)} more"
"""The common ones, for a message."""


def is_picture(name: str) -> bool:
    """Whether a file of this name (or path) is looked at as a picture."""
    return ending_of(name) in _KINDS and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is never spoken of: a hidden one, or what file managers leave."""
    last = name.rpartition("/")[2]
    return last.startswith(".") or last.lower() in _LITTER


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, with both parts of '.tar.gz'; '' without one.

    Of a name without an ending that everybody knows ('README'), that name in lower case.
    """
    whole = name.rpartition("/")[2].lower()
    stem, dot, last = whole.rpartition(".")
    if not stem or not last:  # no dot, or only at the start or the end
        return whole if whole in _BESIDE else ""
    return f".tar{dot}{last}" if stem.endswith(".tar") else dot + last


def is_beside(ending: str) -> bool:
    """Whether files of this ending are known to be no pictures: texts and the like."""
    return ending in _BESIDE


def advice(ending: str) -> str:
    """What to do with files of an ending that is not read, or ''."""
    return _ADVICE_OF.get(ending, "")


def formats_of(stored: bytes, name: str) -> tuple[str, ...]:
    """The formats as which a file is tried, by its first bytes and by the ending of its name."""
    own = Image.EXTENSION.get(ending_of(name), "")
    tried: Iterable[str] = (*_SIGNED, own) if own in _BY_ENDING else _SIGNED
    found = tuple(kind for kind in tried if kind in Image.OPEN)
    return (*found, "HEIF") if is_heif(stored) and _register_heif() else found
