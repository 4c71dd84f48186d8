"""A graph cut into parts that are timed one by one: a convolution with what belongs to it.

A part is a convolution (or a fully connected layer), what a runtime fuses with it from before (its
quantisers, its padding), and what follows it up to the next one: norm, activation, sums,
concatenation, resizing. Every node of the graph is in a part, so that the parts' times add up to
the network's but for what runtimes do between them, which a fit on whole networks takes in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ganpress.measures.timing.segments import Part
from ganpress.measures.timing.template import Template

HEADS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
LEADING = (*QUANTISERS, "Clip", "Pad", "Cast", "Resize")
"""What belongs to the convolution that reads it, in a runtime that fuses them."""


def parts_of(template: Template) -> list[Part]:
    """The parts of a graph, in its order; every node that computes is in one of them.

    Quantisers that several convolutions read the output of are in the part of each.
    """
    return _Cut(template).parts()


class _Cut:
    def __init__(self, template: Template) -> None:
        self.template, self.nodes = template, list(template.file.graph.node)
        self.maker = {name: i for i, node in enumerate(self.nodes) for name in node.output}
        self.readers: defaultdict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.readers[name].append(i)
        self.constant = self._constants()
        self.owner: dict[int, int] = {}
        self.copies: defaultdict[int, set[int]] = defaultdict(set)
        self.copied: set[int] = set()

    def _constants(self) -> set[int]:
        """Nodes that read nothing that hangs on the inputs: (dequantised) weights, shapes."""
        known = set(self.template.initialisers)
        found = set()
        for i, node in enumerate(self.nodes):
            if all(name in known or not name for name in node.input):
                found.add(i)
                known |= set(node.output)
        self.known = known
        return found

    def is_head(self, i: int) -> bool:
        node = self.nodes[i]
        return i not in self.constant and node.op_type in HEADS and node.input[1] in self.known

    def parts(self) -> list[Part]:
        heads = [i for i in range(len(self.nodes)) if self.is_head(i)]
        for i, node in enumerate(self.nodes):
            if i in self.constant:
                continue
            owners = [self.owner[self.maker[n]] for n in node.input
                      if n in self.maker and self.maker[n] in self.owner]  # fmt: skip
            if i in heads:
                self.owner[i] = i
            elif owners:
                self.owner[i] = max(owners)
        for head in heads:
            self._take_leading(head)
        self._take_orphans(heads)
        return [self._part(head) for head in heads]

    def _take_leading(self, head: int) -> None:
        """Give a convolution what directly leads to it; what leads to a shared one is shared."""
        name, shared = self.nodes[head].input[0], False
        while (i := self.maker.get(name)) is not None and i not in self.constant:
            node = self.nodes[i]
            shared = shared or len(self.readers[node.output[0]]) > 1
            if node.op_type not in LEADING or (shared and node.op_type not in QUANTISERS):
                return
            if shared:
                self.copied.add(i)
                self.owner.pop(i, None)
                self.copies[head].add(i)
            else:
                self.owner[i] = head
            name = node.input[0]

    def _take_orphans(self, heads: Sequence[int]) -> None:
        """Give what hangs on the network's inputs alone to the first part that reads it."""
        for i in reversed(range(len(self.nodes))):
            if i in self.owner or i in self.constant or i in self.copied:
                continue
            readers = [r for name in self.nodes[i].output for r in self.readers[name]]
            owners = [self.owner[r] for r in readers if r in self.owner]
            owners += [h for h, copies in self.copies.items() if copies & set(readers)]
            self.owner[i] = min(owners, default=heads[-1])

    def _part(self, head: int) -> Part:
        own = {i for i, owner in self.owner.items() if owner == head} | self.copies[head]
        wanted = [n for i in own for n in self.nodes[i].input]
        while wanted:  # constants that it reads
            i = self.maker.get(wanted.pop(), -1)
            if i in self.constant and i not in own:
                own.add(i)
                wanted += self.nodes[i].input
        made = {n for i in own for n in self.nodes[i].output}
        order = sorted(own)
        inputs = dict.fromkeys(
            n for i in order for n in self.nodes[i].input
            if n and n not in made and n not in self.template.initialisers
        )  # fmt: skip
        final = {v.name for v in self.template.file.graph.output}
        outputs = [
            n for i in order if i not in self.constant for n in self.nodes[i].output
            if n in final or any(r not in own for r in self.readers[n])
        ]  # fmt: skip
        name = self._weight(head)
        return Part(self.template, name, tuple(order), tuple(inputs), tuple(outputs))

    def _weight(self, head: int) -> str:
        """The name of the tensor that a convolution's weight is made of."""
        name = self.nodes[head].input[1]
        while name in self.maker:
            name = self.nodes[self.maker[name]].input[0]
        return str(name)
