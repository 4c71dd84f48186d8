"""Terms between whole batches, against the authors' numbers, autograd and sums over pairs."""

from __future__ import annotations

import math

import pytest
import reference_cagc as paper
import torch
from interop_files import reference

from ganpress.losses.batch_terms import mmd, relation_kl, relation_mse, similarity

RELATIONS = {"kl": relation_kl, "mse": relation_mse}


@pytest.mark.shared_interop
@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_relations_and_their_gradients_are_the_authors(kind: str) -> None:
    file = reference("content_aware")
    count = sum(name.startswith("kd_teacher_") for name in file.input)
    assert count == 2
    teacher = [file.input[f"kd_teacher_{k}"] for k in range(count)]
    student = [file.input[f"kd_student_{k}"].requires_grad_() for k in range(count)]
    loss = RELATIONS[kind](student, teacher)
    wanted = file.output[f"kd_{kind}"].item()
    assert loss.item() == pytest.approx(wanted, rel=2e-5)
    for k, (s, t) in enumerate(zip(student, teacher, strict=True)):
        of_layer = file.output[f"kd_{kind}_layers"][k].item()
        assert RELATIONS[kind]([s], [t]).item() == pytest.approx(of_layer, rel=2e-5)
    grads = torch.autograd.grad(loss, student)
    for k, grad in enumerate(grads):
        said = file.output[f"kd_{kind}_grad_{k}"]
        assert float((grad - said).abs().max()) <= 2e-5 * float(said.abs().max())


def test_a_similarity_is_of_plain_rows_with_shifted_columns() -> None:
    maps = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [0.0, -1.0]]).view(4, 2, 1, 1)
    wanted = torch.tensor([[math.sqrt(0.5), 0.0], [math.sqrt(0.5), -1.0]])
    torch.testing.assert_close(similarity(maps), wanted)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (1, 1)])
def test_mmd_is_the_mean_over_all_pairs_and_so_is_its_gradient(sizes: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in sizes)
    x.requires_grad_()
    found, wanted = mmd(x, y), paper.mmd(x, y)
    assert found.item() == pytest.approx(float(wanted.detach()), rel=1e-9)
    grads = [torch.autograd.grad(of, x)[0] for of in (found, wanted)]
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-12)


def test_mmd_is_0_for_equal_sets_and_grows_as_they_part() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    assert mmd(x, x[torch.randperm(6)]).item() == pytest.approx(0, abs=1e-6)
    assert mmd(x[:1], x[:1]).item() == 0
    near, far = (mmd(x, x + shift).item() for shift in (1.0, 10.0))
    assert 0 < near < far < 2
