"""Tell apart networks that are protobuf messages, which have no magic number, by their fields."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ONNX_TEXT = {2, 3, 4, 6}  # producer_name, producer_version, domain, doc_string
_ONNX = {1, 5, 7, 8, 14, 20, 25} | _ONNX_TEXT
_NAME = re.compile(rb"[A-Za-z0-9.][\w./\-:]*")
_OPERATION = re.compile(rb"_?[A-Z][A-Za-z0-9_]*")


def protobuf(head: bytes, size: int) -> str:
    """An ONNX network, a TensorFlow graph or a Core ML network, in words; "" for none of them.

    Args:
        head: the first bytes of the file. size: of the file, in bytes.
    """
    fields = list(_fields(head, size))
    if not fields:
        return ""
    (first, number, _), *rest = fields
    if first == 1 and isinstance(number, int) and rest:
        second, _, start = rest[0]
        if number == 1 and second == 2 and start[:1] == b"\x0a":
            return "a TensorFlow SavedModel"
        if 1 <= number < 20 and second == 2 and start[:1] == b"\x0a":
            return "a Core ML network"
        if 2 <= number < 100 and _is_onnx(rest):
            return "an ONNX network"
    if first == 1 and number is None and _is_node(fields[0][2]):
        return "a TensorFlow graph (.pb)"
    return "a TensorFlow graph (.meta)" if _is_meta(fields) else ""


Field = tuple[int, int | None, bytes]


def _fields(data: bytes, size: int) -> Iterator[Field]:
    """Number, value (of an integer) and first bytes (of the rest) of each field; stops at the end
    of `data`, and gives nothing more after what cannot be a field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value, start = None, b""
        if not number or at < 0:
            return
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            length, at = _varint(data, at)
            if at < 0 or at + length > size:
                return
            start = data[at : at + min(length, 256)]
            at += length
        else:
            return
        if at < 0:
            return
        yield number, value, start


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at an offset and the offset after it; (0, -1) where there is none."""
    if at < 0:
        return 0, -1
    found = 0
    for shift, byte in enumerate(data[at : at + 10]):
        found |= (byte & 127) << (7 * shift)
        if byte < 128:
            return found, at + shift + 1
    return 0, -1


def _is_onnx(fields: list[Field]) -> bool:
    """Whether these are fields of an ONNX ModelProto, with a graph (7) or opsets (8) among them or
    a producer's name in front."""
    known = all(number in _ONNX for number, _, _ in fields)
    said = all(
        start.isascii() and (number != 2 or start.decode("ascii").isprintable())
        for number, _, start in fields
        if number in _ONNX_TEXT
    )
    graph = any(number in (7, 8) for number, _, _ in fields)
    return known and said and (graph or fields[0][0] == 2)


def _is_node(node: bytes) -> bool:
    """Whether a message is a NodeDef: a name, then an operation such as Placeholder."""
    inner = list(_fields(node, len(node) + 1_000_000_000))[:2]
    texts = [start for number, _, start in inner if number in (1, 2)]
    return (
        [n for n, _, _ in inner] == [1, 2]
        and _NAME.fullmatch(texts[0]) is not None
        and _OPERATION.fullmatch(texts[1]) is not None
    )


def _is_meta(fields: list[Field]) -> bool:
    """Whether a file is a MetaGraphDef: its meta_info (1) names operations, its graph (2) nodes."""
    return len(fields) > 1 and fields[0][0] == 1 and fields[1][0] == 2 and b"\x0a" in fields[1][2]
