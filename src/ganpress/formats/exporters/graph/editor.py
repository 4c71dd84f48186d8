"""An ONNX file open for rewriting: who makes and reads each value, and its constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Pass: TypeAlias = Callable[["Editor"], None]
PIXELWISE = ("Add", "Cast", "Clip", "DequantizeLinear", "Max", "Mul", "QuantizeLinear", "Sigmoid",
             "Tanh")  # fmt: skip
"""What can stand between the convolution that writes a picture and the picture."""


class Editor:
    """The main graph of an ONNX file.

    Nodes are put in place of others at once; who makes and reads a value is looked up in the graph
    as it is at that moment. `to_bytes` sorts the nodes, drops what none reads, and keeps one of the
    nodes that make the same value.
    """

    def __init__(self, data: bytes) -> None:
        import onnx

        self._data = data
        self.model = onnx.load_from_string(data)
        self.graph: Any = self.model.graph
        self.nodes: list[Any] = list(self.graph.node)
        self.constants: dict[str, Any] = {i.name: i for i in self.graph.initializer}
        self.outputs = dict.fromkeys(o.name for o in self.graph.output)
        self._shapes: dict[str, Any] | None = None
        made = (name for n in self.nodes for name in n.output)
        self._taken = {*self.constants, *made, *(i.name for i in self.graph.input)}

    def maker(self, name: str) -> Any | None:
        """The node that makes a value; None of an input or a constant."""
        return next((n for n in self.nodes if name in n.output), None)

    def readers(self, name: str) -> list[Any]:
        """The nodes that read a value, each once."""
        return [n for n in self.nodes if name in n.input]

    def only_reader(self, name: str) -> Any | None:
        """The node that reads a value, where only one does and the graph does not return it."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def array(self, name: str) -> Array | None:
        """A constant's numbers; None where the value is none."""
        from onnx import numpy_helper

        if name in self.constants:
            made: Array = numpy_helper.to_array(self.constants[name])
            return made
        node = self.maker(name)
        if node is not None and node.op_type == "Constant":
            return np.asarray(numpy_helper.to_array(attributes(node)["value"]))
        return None

    def constant(self, array: Array, name: str) -> str:
        """Add a constant under this name, or one like it that is free; the name it got."""
        from onnx import numpy_helper

        name = self._free(name)
        self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def node(self, kind: str, inputs: Iterable[str], output: str, **values: Any) -> Any:
        """A node, not yet in the graph, with one output of this name, which has to be free."""
        from onnx import helper

        return helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", **values)

    def value(self, name: str) -> str:
        """A free name for a value, this one or one like it."""
        return self._free(name)

    def sides_divide_by(self, name: str, number: int) -> bool:
        """Whether height and width of a value, (n, c, h, w), are surely multiples of a number: by
        the shapes of the graph's inputs, or where these are free, of a picture that the graph
        returns, by the file's ``multiple``."""
        import onnx

        said = {p.key: p.value for p in self.model.metadata_props}.get("multiple", "1")
        if self._shapes is None:
            whole = onnx.load_from_string(self._data)  # passes change nodes in place
            shaped = onnx.shape_inference.infer_shapes(whole)
            values = [*shaped.graph.value_info, *shaped.graph.output]
            self._shapes = {v.name: v.type.tensor_type.shape.dim for v in values}
        sides = [d.dim_value for d in self._shapes.get(name, [])][-2:]
        if any(side % number for side in sides):
            return False
        known = bool(sides) and 0 not in sides
        return known or (int(said) % number == 0 and self._is_returned(name))

    def _is_returned(self, name: str) -> bool:
        """Whether the graph returns a value, or what is made of it pixel by pixel alone."""
        while name not in self.outputs:
            node = self.only_reader(name)
            if node is None or node.op_type not in PIXELWISE:
                return False
            name = node.output[0]
        return True

    def replace(self, old: Iterable[Any], new: Iterable[Any]) -> None:
        """Take nodes out of the graph and put others in; their order is that of `to_bytes`."""
        gone = list(old)
        self.nodes = [n for n in self.nodes if not any(n is g for g in gone)] + list(new)

    def to_bytes(self) -> bytes:
        """The file, its nodes in an order in which each comes after what it reads."""
        del self.graph.node[:]
        self.graph.node.extend(self._sorted())
        read = {name for n in self.graph.node for name in n.input} | {*self.outputs}
        del self.graph.initializer[:]
        self.graph.initializer.extend(c for name, c in self.constants.items() if name in read)
        del self.graph.value_info[:]  # a value can have another shape now; programs infer it
        data: bytes = self.model.SerializeToString()
        return data

    def _sorted(self) -> list[Any]:
        """The nodes that the outputs need, in their order, but each behind those that it reads."""
        makers = {name: n for n in self.nodes for name in n.output}
        needed, asked = set[str](), list(self.outputs)
        while asked:
            name = asked.pop()
            if name in makers and name not in needed:
                needed.update(makers[name].output)
                asked.extend(makers[name].input)
        done: set[str] = set()
        order: list[Any] = []
        for start in self.nodes:
            stack = [start] if needed.intersection(start.output) else []
            while stack:
                waits = [makers[i] for i in stack[-1].input if i in makers and i not in done]
                if waits and not done.intersection(stack[-1].output):
                    stack.extend(waits)
                    continue
                node = stack.pop()
                if not done.intersection(node.output):
                    order.append(node)
                    done.update(node.output)
        return order

    def _free(self, name: str) -> str:
        number, free = 1, name
        while free in self._taken:
            number, free = number + 1, f"{name}_{number}"
        self._taken.add(free)
        return free


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node by name."""
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
