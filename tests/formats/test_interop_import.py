"""Every reference file of the other code bases: imported, run, and equal to its own output.

Through the public door (`from_state`), kinds given and guessed; then out again in the layout it
came in, tensor by tensor. Tolerances are those of the reference files' own table.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from interop_files import largest, reference
from torch import Tensor

from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import discriminator_from_state, from_state
from ganpress.formats.importers.kinds import READERS
from ganpress.models.checkpoint import Model

pytestmark = pytest.mark.shared_interop
SPADE = {"upsampling": "normal"}


class Case(NamedTuple):
    file: str
    kind: str
    reads: tuple[str, ...] = ("x",)
    gives: str = "y"
    tolerance: float = 2e-5
    target: str = ""
    told: dict[str, object] = {}  # noqa: RUF012


CASES = (
    Case("resnet_generator_cyclegan", "cyclegan", target="pth-junyanz"),
    Case("resnet_generator_cyclegan_legacy", "cyclegan"),
    Case("unet_generator_pix2pix", "pix2pix", target="pth-junyanz"),
    Case("gancompression_resnet", "gan-compression", target="pth-gan-compression"),
    Case("gancompression_mobile_resnet", "gan-compression", target="pth-gan-compression"),
    Case("gancompression_sub_mobile_resnet", "gan-compression", target="pth-gan-compression"),
    Case("spade_generator", "spade", ("semantics",), target="", told=SPADE),
    Case("spade_generator_small", "spade", ("semantics",), told=SPADE),
    Case("gancompression_mobile_spade", "gan-compression", ("semantics",), told=SPADE),
    Case("gancompression_spade", "gan-compression", ("semantics",), tolerance=5e-5, told=SPADE),
    Case("munit_generator", "munit", ("x", "style"), "translated", 5e-5, target="pth-nvlabs"),
    Case("stylegan2_generator", "stylegan2", ("z",), "image_z", target="pth-rosinality"),
    Case("sngan_cifar_generator", "sngan", ("z",), tolerance=1e-5, target="pth-sngan"),
    Case("gs_extract_subnet", "cyclegan", gives="y_before", target="pth-junyanz"),
    Case("gs_quantised_resnet", "cyclegan", gives="y_float", target="pth-junyanz"),
)
ALIKE = "gancompression_resnet"  # its keys are those of junyanz's with dropout: it may clamp or not
every_case = pytest.mark.parametrize("case", CASES, ids=[c.file for c in CASES])


def imported(case: Case, kind: str) -> Model:
    return from_state(kind, reference(case.file).weights, **case.told)


@every_case
@pytest.mark.parametrize("auto", [False, True], ids=["kind given", "auto"])
def test_an_imported_file_makes_upstreams_picture(case: Case, auto: bool) -> None:
    if auto and case.file == ALIKE:
        pytest.skip("its keys do not say which code base it is of")
    file = reference(case.file)
    model = imported(case, "auto" if auto else case.kind)
    inputs = tuple(file.input[name] for name in case.reads)
    assert largest(model(*inputs), file.output[case.gives]) < case.tolerance


@pytest.mark.parametrize("case", [c for c in CASES if c.target], ids=lambda c: c.file)
def test_a_file_goes_back_as_it_came(case: Case) -> None:
    model = imported(case, case.kind)
    _, state_of = LAYOUTS[case.target][model.family.name]
    back, file = state_of(model), reference(case.file).weights
    for name, tensor in back.items():
        if name in file and "running" not in name:
            assert torch.equal(tensor, file[name].float().reshape(tensor.shape)), name
    again = from_state(case.kind, back, **case.told)
    inputs = tuple(reference(case.file).input[name] for name in case.reads)
    assert largest(again(*inputs), model(*inputs)) == 0
    ignored = {n for n in file if "running" in n or "noise" in n or n.endswith("kernel")}
    assert set(file) - set(back) <= ignored


@pytest.mark.parametrize(
    ("name", "kind", "outputs"),
    [
        ("patch_discriminator_instance", "cyclegan", ("logits",)),
        ("patch_discriminator_batch", "pix2pix", ("logits",)),
        ("sngan_cifar_discriminator", "sngan", ("logits",)),
        ("stylegan2_discriminator", "stylegan2", ("logits", "logits_first2", "logits_first3")),
    ],
)
def test_an_imported_discriminator_gives_upstreams_logits(
    name: str, kind: str, outputs: tuple[str, ...]
) -> None:
    file = reference(name)
    held = discriminator_from_state(kind, file.weights)
    for output in outputs:
        want = file.output[output]
        x: Tensor = file.input["x"][: len(want)]
        assert largest(held.net.eval()(x), want) < 2e-5, output


def test_every_kind_that_has_reference_files_is_here() -> None:
    missing = set(READERS) - {c.kind for c in CASES}
    elsewhere = {"cut", "pix2pixhd", "pytorch-gan"}  # test_relatives.py
    assert missing == {"cartoongan", "stylegan2-nvlabs"} | elsewhere  # test_interop.py; none
