"""The tensors of weight files."""

from __future__ import annotations

from pathlib import Path

import torch

from ganpress.losses.stored import tensor_of


def test_subnormal_numbers_of_a_file_are_zero_and_all_others_as_they_were() -> None:
    least = torch.finfo(torch.float32).tiny
    stored = torch.tensor([least, -least, least / 2, -least / 8, 0.0, 1e-45, 1.5, -2e-30])
    found = tensor_of({"w": stored}, "w", (8,), Path("some.pth"))
    assert found.tolist() == [least, -least, 0.0, 0.0, 0.0, 0.0, 1.5, torch.tensor(-2e-30).item()]
    assert stored[2] == least / 2  # the file's own tensor stays
