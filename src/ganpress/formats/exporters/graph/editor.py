"""An ONNX file open for rewriting: who makes and reads each value, and its constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Pass: TypeAlias = Callable[["Editor"], None]


class Editor:
    """The main graph of an ONNX file.

    Nodes are put in place of others at once; who makes and reads a value is looked up in the graph
    as it is at that moment. `to_bytes` sorts the nodes and drops constants that none reads.
    """

    def __init__(self, data: bytes) -> None:
        import onnx

        self.model = onnx.load_from_string(data)
        self.graph: Any = self.model.graph
        self.nodes: list[Any] = list(self.graph.node)
        self.constants: dict[str, Any] = {i.name: i for i in self.graph.initializer}
        self.outputs = {o.name for o in self.graph.output}
        self._taken = {*self.constants, *(name for n in self.nodes for name in n.output)}

    def maker(self, name: str) -> Any | None:
        """The node that makes a value; None of an input or a constant."""
        return next((n for n in self.nodes if name in n.output), None)

    def readers(self, name: str) -> list[Any]:
        """The nodes that read a value, each once."""
        return [n for n in self.nodes if name in n.input]

    def only_reader(self, name: str) -> Any | None:
        """The node that reads a value, where it is the only one and the graph does not return it."""
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
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, kind: str, inputs: Iterable[str], output: str, **values: Any) -> Any:
        """A node, not yet in the graph, with one output of this name, which has to be free."""
        from onnx import helper

        return helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", **values)

    def value(self, name: str) -> str:
        """A free name for a value, this one or one like it."""
        return self._free(name)

    def replace(self, old: Iterable[Any], new: Iterable[Any]) -> None:
        """Take nodes out of the graph and put others in; their order is that of `to_bytes`."""
        gone = list(old)
        self.nodes = [n for n in self.nodes if not any(n is g for g in gone)] + list(new)

    def to_bytes(self) -> bytes:
        """The file, its nodes in an order in which each comes after what it reads."""
        del self.graph.node[:]
        self.graph.node.extend(self._sorted())
        read = {name for n in self.graph.node for name in n.input} | self.outputs
        del self.graph.initializer[:]
        self.graph.initializer.extend(c for name, c in self.constants.items() if name in read)
        del self.graph.value_info[:]  # a value can have another shape now; programs infer it
        data: bytes = self.model.SerializeToString()
        return data

    def _sorted(self) -> list[Any]:
        inner = {name: n for n in self.nodes for name in n.output}
        done: set[str] = set()
        order: list[Any] = []
        for start in self.nodes:
            stack = [start]
            while stack:
                node = stack[-1]
                waits = [inner[i] for i in node.input if i in inner and i not in done]
                if waits and not done.intersection(node.output):
                    stack.extend(waits)
                    continue
                stack.pop()
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
