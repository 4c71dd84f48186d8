"""The lowest ONNX operator set, and the lowest version of the file format, that a graph can have.

An operator set is a dated list of what operators mean; a runtime reads all sets up to the newest it
knows, so the lowest reaches most runtimes. torch's exporter writes set 18 whatever the graph needs.
Here each node is held against the operator's definition in the set asked for: its attributes, the
number of its inputs, the types of all values. What an older set writes in another way is rewritten
so: a constant input that was an attribute once (`axes` of a reduction, before 18) becomes one.

The version of the file format (IR) is the oldest that ONNX's own table gives for the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganpress.errors import ConfigError

LOWEST = 7
"""onnxruntime reads sets from this one on."""
USUAL = 11
"""The lowest set that is taken without being asked for. Runtimes of 2019 read it; below it phones'
accelerators (NNAPI and Core ML in onnxruntime) leave padding and resizing to the CPU, since these
had attributes there in place of inputs."""
IR_OF_BARE_WEIGHTS = 4
"""Since this version weights are not inputs of the graph as well, and may be folded."""
NEGATIVE_AXES = 11
"""Since this set an axis counts from the end where it is negative."""
MEANS_OTHERWISE_BEFORE = {
    "GroupNormalization": 21,
    "Hardmax": 13,
    "LogSoftmax": 13,
    "Resize": 11,
    "Softmax": 13,
}
"""Operators that meant something else before a set, of which their definitions' forms say nothing:
softmax flattened, resizing had one rule for where pixels are, group norms a scale for each group.
"""
SCALED = ("QuantizeLinear", "DequantizeLinear")
STANDARD = ("", "ai.onnx")
MOST_NUMBERS = 64
"""Of a constant that can be an attribute: axes, sizes, bounds."""


@dataclass(frozen=True)
class _Values:
    """What is known of a graph's values by name: type as in "tensor(float)", rank, constant."""

    types: Mapping[str, str]
    ranks: Mapping[str, int]
    constants: Mapping[str, Any]


def at_opset(data: bytes, opset: int | None = None) -> bytes:
    """An ONNX file at this operator set, or at the lowest that its graph can have; the same
    function, in the oldest file format that the set allows.

    Raises: ConfigError where the graph cannot have that set, with those that it can.
    """
    import onnx

    file = onnx.load_from_string(data)
    values = _values(file)
    now = opset_of(file)
    able = _able(file, values, now)
    if opset is not None and opset not in able:
        raise ConfigError(_refusal(file, values, now, opset, able))
    usual = [one for one in able if one >= USUAL]
    chosen = opset or (usual or able)[0]
    nodes = [_rewritten(node, chosen, now, values.constants) for node in file.graph.node]
    del file.graph.node[:]
    file.graph.node.extend(nodes)
    _drop_unused(file.graph)
    for one in file.opset_import:
        if one.domain in STANDARD:
            one.version = chosen
    oldest = onnx.helper.find_min_ir_version_for(list(file.opset_import), ignore_unknown=True)
    file.ir_version = max(IR_OF_BARE_WEIGHTS, oldest)
    written: bytes = file.SerializeToString()
    return written


def opset_of(file: Any) -> int:
    """The version of the standard operators that an ONNX model says it is of."""
    return next(int(one.version) for one in file.opset_import if one.domain in STANDARD)


def _able(file: Any, values: _Values, now: int) -> list[int]:
    """The operator sets that the graph can have, rising."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    sets = range(LOWEST, newest + 1)
    return [then for then in sets if next(_misfits(file, then, now, values), None) is None]


def _refusal(file: Any, values: _Values, now: int, opset: int, able: Sequence[int]) -> str:
    first = next(_misfits(file, opset, now, values), None)
    why = f" ({first})" if first and opset >= LOWEST else ""
    return (
        f"The operator set is {opset}, which this graph cannot have{why}. It can have {able[0]} to "
        f"{able[-1]}: give --opset {able[0]}, or leave it out."
    )


def _misfits(file: Any, then: int, now: int, values: _Values) -> Iterator[str]:
    """Why the graph cannot be of operator set ``then``; nothing where it can."""
    import onnx

    if not LOWEST <= then <= onnx.defs.onnx_opset_version():
        yield f"sets are {LOWEST} to {onnx.defs.onnx_opset_version()}"
        return
    for node in file.graph.node:
        if node.domain in STANDARD:
            node = _rewritten(node, then, now, values.constants)
            reason = _misfit(node, then, now, values)
            if reason:
                yield f"{node.op_type} {reason}"


def _misfit(node: Any, then: int, now: int, values: _Values) -> str | None:
    """Why a node, rewritten for the set, cannot be in it; None where it can."""
    old, new = _schema(node, then), _schema(node, now)
    if old is None or new is None:
        return "is not there"
    if old.since_version == new.since_version:
        return None
    if old.deprecated:
        return "is not there"
    changed = MEANS_OTHERWISE_BEFORE.get(node.op_type, 0)
    if (then < changed) != (now < changed):
        return f"means something else before {changed}"
    given = {a.name: a for a in node.attribute}
    unknown = [name for name in given if name not in old.attributes]
    if unknown:
        return f"has no attribute '{unknown[0]}'"
    if any(a.required and name not in given for name, a in old.attributes.items()):
        return "needs other attributes"
    if then < NEGATIVE_AXES and any(_is_negative(given.get(n)) for n in ("axis", "axes")):
        return f"has no negative axes before {NEGATIVE_AXES}"
    has_many = node.op_type in SCALED and values.ranks.get(node.input[1], 0) > 0
    if has_many and "axis" not in old.attributes:
        return "has one scale only"
    if not old.min_input <= len(node.input) <= old.max_input:
        return f"reads {old.max_input} inputs"
    for formal, name in zip(old.inputs, node.input, strict=False):
        if not name and formal.option == formal.option.Single:
            return f"needs its input '{formal.name}'"
    if not old.min_output <= len(node.output) <= old.max_output:
        return f"makes {old.max_output} outputs"
    return _type_misfit(node, old, values.types)


def _type_misfit(node: Any, schema: Any, types: Mapping[str, str]) -> str | None:
    """The first value of a node whose type the operator does not take, or not beside the others."""
    bound: dict[str, str] = {}
    for formals, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)]
            kind = types.get(name)
            if kind is None:
                continue
            if kind not in formal.types:
                return f"does not take {kind}"
            if formal.is_homogeneous and bound.setdefault(formal.type_str, kind) != kind:
                return f"does not take {kind} beside {bound[formal.type_str]}"
    return None


def _rewritten(node: Any, then: int, now: int, constants: Mapping[str, Any]) -> Any:
    """The node as operator set ``then`` writes it: attributes at their defaults left out where that
    set does not have them, constant inputs as the attributes that they were."""
    old, new = _schema(node, then), _schema(node, now)
    if old is None or new is None or old.since_version == new.since_version:
        return node
    made = type(node)()
    made.CopyFrom(node)
    _drop_zero_rule(made, constants)
    kept = [a for a in made.attribute if a.name in old.attributes or not _is_default(a, new)]
    del made.attribute[:]
    made.attribute.extend(kept)
    while len(made.input) and not made.input[-1]:
        made.input.pop()
    if len(made.input) > old.max_input:
        _inputs_to_attributes(made, old, new, constants)
    given = {a.name for a in made.attribute}
    for name, attribute in new.attributes.items():
        differs = name in old.attributes and _default(attribute) != _default(old.attributes[name])
        if differs and attribute.default_value.name and name not in given:
            made.attribute.append(attribute.default_value)
    return made


def _drop_zero_rule(node: Any, constants: Mapping[str, Any]) -> None:
    """Remove from a Reshape what a 0 in its shape means (since 14) where none is, in place."""
    shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
    if shape is not None and 0 not in shape:
        kept = [a for a in node.attribute if a.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)


def _inputs_to_attributes(node: Any, old: Any, new: Any, constants: Mapping[str, Any]) -> None:
    """Turn the inputs past those of the old definition into its attributes of the same names, if
    all are constant, in place."""
    from onnx import helper

    more = []
    for index in range(old.max_input, len(node.input)):
        name = new.inputs[min(index, len(new.inputs) - 1)].name
        value = constants.get(node.input[index])
        if node.input[index] and (value is None or name not in old.attributes):
            return
        if node.input[index]:
            more.append(helper.make_attribute(name, np.asarray(value).tolist()))
    del node.input[old.max_input :]
    node.attribute.extend(more)


def _schema(node: Any, version: int) -> Any:
    """An operator's definition in a set; None where it has none."""
    import onnx

    try:
        return onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None


def _is_default(attribute: Any, schema: Any) -> bool:
    known = schema.attributes.get(attribute.name)
    return known is not None and _value(attribute) == _default(known)


def _default(attribute: Any) -> Any:
    return _value(attribute.default_value)


def _value(attribute: Any) -> Any:
    from onnx import helper

    return helper.get_attribute_value(attribute) if attribute.name else None


def _is_negative(attribute: Any) -> bool:
    value = _value(attribute) if attribute is not None else 0
    return any(one < 0 for one in (value if isinstance(value, list) else [value]))


def _values(file: Any) -> _Values:
    """What the graph and ONNX's inference say of its values."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.shape_inference.infer_shapes(file).graph
    kind_of = onnx.TensorProto.DataType.Name
    types, ranks, constants = {}, {}, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        types[value.name] = f"tensor({kind_of(tensor.elem_type).lower()})"
        if tensor.HasField("shape"):
            ranks[value.name] = len(tensor.shape.dim)
    for tensor in graph.initializer:
        types[tensor.name] = f"tensor({kind_of(tensor.data_type).lower()})"
        ranks[tensor.name] = len(tensor.dims)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    for name, tensor in tensors.items():
        if len(tensor.dims) <= 1 and sum(tensor.dims) <= MOST_NUMBERS:
            constants[name] = numpy_helper.to_array(tensor)
    return _Values(types, ranks, constants)


def _drop_unused(graph: Any) -> None:
    """Remove weights that nothing reads, in place."""
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for unused in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(unused)
