"""What a text stands for: a pointer to a file that is not here, a web page, or the text itself."""

from __future__ import annotations

import html
import re
from typing import Literal

TextGroup = Literal["pointer", "page", "text", "network", "picture of another kind", "empty"]
Found = tuple[str, TextGroup, str]
"""What it is, its group, and what to do with it ("" where that depends on what was wanted)."""

_LFS = re.compile(r"version https?://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/")
_LFS_SIZE = re.compile(r"^size (\d+)", re.MULTILINE)
_ANNEX = re.compile(r"(?:\.\./)*(?:\.git)?/?annex/objects/\S+")
_DVC = re.compile(r"(?:^|\n)outs:\s*\n\s*-\s+(?:md5|etag|hash|path)\b")
_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(!doctype html|html|head|body)", re.I
)
_XML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype[^>]*>\s*)*<(\w+)", re.I | re.S
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_AGAIN = (
    "the download was answered with a page (a login, a quota, a wrong address): open its address "
    "in a browser and download the file again"
)
_ANSWER = re.compile(  # of a server, where a file was wanted
    r"""\s*(?:\{\s*"(?:error|errors|message|detail|msg|statusCode|status_code)"\s*:|[45]\d\d\b"""
    r"|(?:Not Found|Entry not found|Repository not found|Invalid username or password|Unauthorized"
    r"|Forbidden|Access (?:denied|to model)|Too many requests|Rate limit|Bad Request|Quota))",
    re.IGNORECASE,
)
_PARTS = (
    "load each file that it lists in one dictionary (safetensors.torch.load_file), save that with "
    "safetensors.torch.save_file, and give that file"
)
_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def text(head: bytes, size: int) -> Found | None:
    """What a text is; None where the bytes are no text."""
    said = _decoded(head, cut=size > len(head))
    if said is None:
        return None
    if not said.strip():
        return f"blank ({size:,} bytes of white space)", "empty", "copy or download it again"
    for known in (_pointer, _page, _markup):
        if found := known(said, size):
            return found
    if said.startswith("7767517"):
        return "an ncnn network (.param)", "network", ""
    if re.match(r'model_checkpoint_path: "', said):
        return "a TensorFlow checkpoint's list of files", "network", ""
    if said.lstrip()[:1] == "{" and re.search(r'"weight_map"\s*:\s*\{', said):
        return "the index of a model in several files", "text", _PARTS
    line = next(line.strip() for line in said.splitlines() if line.strip())
    kind = "a JSON text" if line[0] in "{[" and said.rstrip()[-1] in "}]" else "a text"
    remedy = _AGAIN if size < 4096 and _ANSWER.match(said) else ""
    return f"{kind} ('{line[:60]}{'...' if len(line) > 60 else ''}')", "text", remedy


def _decoded(head: bytes, *, cut: bool) -> str | None:
    """The text, or None. Args: cut: there is more, so that the head may end within a character."""
    encoding = next((e for mark, e in _ENCODINGS.items() if head.startswith(mark)), "utf-8")
    for left_out in range(4 if cut else 1):
        try:
            said = head[: len(head) - left_out].decode(encoding)
        except UnicodeDecodeError:
            continue
        strange = sum(not c.isprintable() and c not in "\t\r\n\f\v\x1b" for c in said)
        return said if strange <= len(said) // 1000 else None
    return None


def _pointer(said: str, size: int) -> Found | None:
    """git-lfs', git-annex' and DVC's stand-ins."""
    if _LFS.match(said):
        stands = _LFS_SIZE.search(said)
        of = f", which stands for a file of {int(stands[1]):,} bytes" if stands else ""
        return f"a git-lfs pointer{of}", "pointer", "run 'git lfs pull' in its repository"
    if size < 4096 and _ANNEX.match(said):
        return "a git-annex pointer", "pointer", "run 'git annex get' on it in its repository"
    if size < 65536 and _DVC.search(said):
        return "a DVC pointer", "pointer", "run 'dvc pull' in its repository"
    return None


def _page(said: str, _: int) -> Found | None:
    if not _PAGE.match(said):
        return None
    title = _TITLE.search(said)
    words = " ".join(html.unescape(title[1]).split())[:80] if title else ""
    return f"an HTML page{f' ({words!r})' if words else ''}", "page", _AGAIN


def _markup(said: str, _: int) -> Found | None:
    root = _XML.match(said)
    if not root:
        return None
    name = root[1].lower()
    if name == "svg":
        return "an SVG drawing", "picture of another kind", ""
    if name == "net":
        return "an OpenVINO network (.xml)", "network", ""
    if name == "error":
        code = re.search(r"<(?:Code|Message)>([^<]{1,80})", said)
        return f"a server's error{f' ({code[1]!r})' if code else ''}", "page", _AGAIN
    return f"an XML text (<{root[1]}>)", "text", ""
