"""Milliseconds from widths: the graph at any widths, its parts, their times, and the fit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from latency_fakes import CALL_MS, Machine, counted_ms
from nets import WIRINGS, Wiring, every_quick_family, random_counts, randomise

from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import optimised
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.trace import TRACED_OPSET
from ganpress.formats.runtimes import open_file
from ganpress.measures.timing.codes import (
    Count,
    coded,
    counts_in,
    numbers_of_size,
    with_products,
)
from ganpress.measures.timing.cost_model import (
    Fit,
    Grid,
    LatencyModel,
    levels,
    line,
    step_of,
    wired,
)
from ganpress.measures.timing.cut_graph import QUANTISERS, parts_of
from ganpress.measures.timing.layer_table import LayerTable
from ganpress.measures.timing.template import Template
from ganpress.measures.timing.timer import Conditions
from ganpress.models.checkpoint import Model
from ganpress.quantisation.quantise import FakeQuantiser, quantise

CONDITIONS = Conditions("A CPU", "onnxruntime", "1.0", "fp32", 1)
_templates: dict[str, Template] = {}


def template_of(wiring: Wiring) -> Template:
    """Made once for all tests: an export takes seconds."""
    key = f"{wiring.name}{wiring.options}"
    if key not in _templates:
        _templates[key] = Template.of(wiring.model(), Form(size=wiring.pixels))
    return _templates[key]


def model_of(wiring: Wiring, machine: Machine, path: Path | None = None) -> LatencyModel:
    table = LayerTable(CONDITIONS, path, machine.time_of, quiet=True)
    return wired(template_of(wiring), wiring.model(), table, step=1)


def exported(wiring: Wiring, **changed: int) -> bytes:
    """The file of a network that is built at these widths, before the passes for a runtime."""
    net = randomise(wiring.build({**wiring.widths, **changed}).eval())
    form = Form(size=wiring.pixels, opset=TRACED_OPSET)
    return to_bytes(Model(net, wiring.family, wiring.settled), form, passes=False)


def leave_as_traced(patch: pytest.MonkeyPatch) -> None:
    """Without the passes for a runtime: some treat layers of four channels and less in another way,
    so that tiny networks are no sum of linear parts."""
    patch.setattr("ganpress.measures.timing.template.optimised", lambda data, runtime: data)


def shapes_of(data: bytes) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Operator of each node that computes, and the dims of the weights that it reads."""
    file = onnx.load_from_string(data)
    graph = onnx.shape_inference.infer_shapes(file, strict_mode=True, data_prop=True).graph
    known = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
             for v in graph.value_info}  # fmt: skip
    held, found = {i.name: tuple(i.dims) for i in graph.initializer}, []
    for node in graph.node:
        if set(node.input) <= held.keys():
            held |= {name: known[name] for name in node.output}
        else:
            found.append((node.op_type, [held[name] for name in node.input if name in held]))
    return found


def computing_nodes(template: Template) -> list[int]:
    """Places of the nodes that have something to do when the network runs."""
    held, found = set(template.initialisers), []
    for i, node in enumerate(template.file.graph.node):
        if set(node.input) <= held:
            held |= set(node.output)
        else:
            found.append(i)
    return found


@every_quick_family
def test_parts_add_up_to_the_network_that_is_built_at_other_widths(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, machine = template_of(wiring), Machine()
    parts = parts_of(template)
    computing = computing_nodes(template)
    places = [place for part in parts for place in part.nodes if place in computing]
    assert sorted(places) == computing  # each of them once
    widths = random_counts(wiring.net(), 3)
    true = exported(wiring, **widths)
    assert shapes_of(template.whole(widths)) == shapes_of(optimised(true))
    leave_as_traced(monkeypatch)
    model = model_of(wiring, machine)
    fit = model.fitted()
    assert fit.error < 1e-6 and fit.factor == pytest.approx(1, rel=1e-5)
    assert fit.offset_ms == pytest.approx(CALL_MS, rel=1e-2)
    assert model(widths) == pytest.approx(counted_ms(true), rel=1e-5)


def test_an_emptied_block_costs_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_as_traced(monkeypatch)
    wiring = WIRINGS["cyclegan affine"]
    model = model_of(wiring, Machine())
    model.fitted()
    whole, empty = model({}), model({"block0": 0})
    assert empty == pytest.approx(counted_ms(exported(wiring, block0=0)), rel=0.02)
    assert empty < 0.98 * whole


def test_quantised_layers_are_timed_with_their_quantisers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_as_traced(monkeypatch)
    wiring = WIRINGS["cyclegan instance"]
    plain = wiring.model()
    quantised = Model(quantise(wiring.net(), FakeQuantiser(8)), plain.family, plain.options)
    template = Template.of(quantised, Form(size=wiring.pixels))
    for part in parts_of(template):
        data = part.file([count(wiring.widths) for count in part.counts])
        onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
        graph = onnx.load_from_string(data).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        (own,) = [n for n in graph.node if (n.op_type.startswith("Conv") and "/" not in n.input[1])
                  or (n.op_type.startswith("Conv") and n.input[1] in makers)]  # fmt: skip
        assert makers[own.input[1]] == "DequantizeLinear"
        assert part.name == "stem.conv.quantiser.levels" or makers[own.input[0]] in QUANTISERS
    table = LayerTable(CONDITIONS, None, Machine().time_of, quiet=True)
    model = wired(template, quantised, table, step=1)
    assert model.fitted().error < 0.01  # thin layers stand before the quantisers


@pytest.mark.parametrize("name", ["cyclegan instance", "pix2pix", "munit", "sngan", "gaugan"])
def test_every_part_of_a_quantised_network_is_a_file_that_reads_and_makes_floats(name: str) -> None:
    """Also where several convolutions read the same levels, as those of SPADE's modulation do."""
    wiring = WIRINGS[name]
    quantised = Model(quantise(wiring.net(), FakeQuantiser(8)), wiring.family, wiring.settled)
    template = Template.of(quantised, Form(size=wiring.pixels))
    kinds = {part.key: part for part in parts_of(template)}
    for part in kinds.values():
        data = part.file([count(wiring.widths) for count in part.counts])
        with open_file(data) as opened:
            assert {port.dtype for port in opened.inputs.values()} == {"float32"}


def test_a_fit_belongs_to_the_parts_that_it_was_made_with() -> None:
    """One kept from before the graph was cut in another way would turn their sum into nonsense."""
    wiring = WIRINGS["cyclegan instance"]
    model, same = (model_of(wiring, Machine()) for _ in range(2))
    assert model.key == same.key
    assert replace(model, parts=model.parts[:-1]).key != model.key
    assert replace(model, step=8).key != model.key


@pytest.mark.parametrize("name", ["pix2pix", "munit", "sngan", "stylegan2", "gaugan"])
def test_codes_tell_every_number_of_channels_apart(name: str) -> None:
    counts = counts_in(WIRINGS[name].ghost)
    codes = coded(counts, {128, 256})
    assert set(codes) == {group for count in counts for group, _ in count.of}
    assert len({count(codes) for count in counts}) == len(counts)
    assert not {128, 256} & {count(codes) for count in counts}


def test_a_count_is_a_sum_of_widths() -> None:
    both = Count((("a", 1),)) + Count((("b", 4),)) + Count((), 3) + Count((("a", 1),))
    assert both == Count((("a", 2), ("b", 4)), 3)
    assert both({"a": 5, "b": 7}) == 2 * 5 + 4 * 7 + 3


# --- interpolation --------------------------------------------------------------------------------


def test_a_grid_is_linear_along_each_axis_and_level_beyond_its_ends() -> None:
    axes = ((8, 16, 64), (4, 12))
    table = {(8, 4): 1.0, (8, 12): 2.0, (16, 4): 3.0, (16, 12): 6.0, (64, 4): 5.0, (64, 12): 10.0}
    grid = Grid.of(axes, table)
    for point, ms in table.items():
        assert grid(point) == ms
    assert grid((12, 4)) == 2.0 and grid((40, 4)) == 4.0 and grid((8, 8)) == 1.5
    assert grid((12, 8)) == pytest.approx((1 + 2 + 3 + 6) / 4)
    assert grid((40, 10)) == pytest.approx(0.25 * 4.0 + 0.75 * 8.0)
    assert grid((1, 1)) == 1.0 and grid((99, 99)) == 10.0
    assert Grid.of(((7,),), {(7,): 3.0})((5,)) == 3.0
    assert Grid.of((), {(): 3.0})(()) == 3.0


def test_noise_makes_no_grid_fall_where_a_number_rises() -> None:
    draw = np.random.default_rng(0)
    axes = ((4, 8, 16), (4, 8, 16))
    table = {p: p[0] * p[1] / 64 + draw.normal(0, 2) for p in itertools.product(*axes)}
    grid = Grid.of(axes, table)
    assert any(table[a, b] > table[c, d] for a, b in table for c, d in table if a <= c and b <= d)
    points = list(itertools.product(range(4, 17), repeat=2))
    for (a, b), (c, d) in itertools.pairwise(points):
        if a <= c and b <= d:
            assert grid((a, b)) <= grid((c, d)) + 1e-12
    tidy = {p: float(p[0] * p[1]) for p in itertools.product(*axes)}
    assert all(Grid.of(axes, tidy)(p) == ms for p, ms in tidy.items())


@pytest.mark.parametrize(
    ("least", "largest", "count", "wanted"),
    [
        (8, 256, 4, (8, 24, 80, 256)),
        (16, 64, 5, (16, 32, 48, 64)),
        (16, 16, 4, (16,)),
        (16, 5, 4, (5,)),
        (4, 4 * 3**4, 5, (4, 12, 36, 108, 324)),
    ],
)
def test_levels_are_spread_from_the_least_to_the_largest(
    least: int, largest: int, count: int, wanted: tuple[int, ...]
) -> None:
    assert levels(least, largest, count) == wanted


def test_the_line_is_of_relative_errors_and_rises() -> None:
    sums = [1.0, 2.0, 10.0, 40.0]
    assert line(sums, [0.5 + 1.2 * s for s in sums]) == pytest.approx((0.5, 1.2))
    assert line(sums, [2 * s - 0.5 for s in sums]) == pytest.approx((-0.5, 2.0))
    assert line([1.0, 2.0], [2.0, 1.0]) == (0.0, pytest.approx((0.5 + 2) / (0.25 + 4)))
    by_error = line([1.0, 1.0, 100.0], [1.0, 2.0, 200.0])  # a half of 2 counts as a half of 200
    assert by_error[0] + by_error[1] == pytest.approx(
        1.2, abs=0.01
    )  # of 1/y: (1 + 1/2) / (1 + 1/4)
    fit = Fit(-3.0, 2.0, 0.0)
    assert fit(5.0) == 7.0 and fit(1.0) == pytest.approx(0.2)


@pytest.mark.parametrize("step", [1, 4, 8, 16])
def test_the_step_that_a_runtime_rounds_up_to_is_found(step: int) -> None:
    assert step_of(lambda channels: float((-(-channels // step) * step) ** 2)) == step


def test_errors_are_those_of_networks_that_were_not_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_as_traced(monkeypatch)
    wiring, machine = WIRINGS["cyclegan instance"], Machine()
    model = model_of(wiring, machine)
    _ = model.grids
    timed = itertools.count()

    def strange(data: bytes) -> float:  # the third whole network takes twice as long
        return machine.time_of(data) * (2.0 if next(timed) % 10 == 2 else 1.0)

    model.table.timer = strange
    fit = model.fitted()
    assert fit.error == pytest.approx(0.5, abs=0.01) and fit.factor == pytest.approx(1, abs=1e-4)
    assert [row["fitted"] for row in fit.sets].count(False) == 4
    assert fit.sets[0]["widths"] == wiring.widths


def test_numbers_that_are_multiples_of_a_groups_channels_are_known() -> None:
    counts = {101: Count((("a", 1),)), 103: Count((("b", 1),)), 204: Count((("a", 1), ("b", 1)))}
    found = with_products(counts, [404, 103 * 4096, 101 * 103, 256, 204, 0, -1])
    assert found == {
        **counts,
        404: Count((("a", 4),)),
        103 * 4096: Count((("b", 4096),)),
    }


def test_no_code_divides_a_number_that_is_taken() -> None:
    wiring = WIRINGS["cyclegan instance"]
    taken = numbers_of_size(wiring.ghost, Form(size=256))
    assert {262, 258, 259, 128, 65536, 3} <= taken
    counts = counts_in(wiring.ghost)
    first = coded(counts, taken)
    again = coded(counts, {2 * code for code in first.values()})  # sides twice these
    assert not {*first.values()} & {*again.values()}
