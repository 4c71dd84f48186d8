"""A StyleGAN2 file that lacks the averaged weights, or the discriminator, is read all the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from nets import WIRINGS

from ganpress.formats.importers import import_model
from ganpress.formats.importers.stylegan2 import state_of


def test_raw_weights_are_read_with_a_warning_where_there_are_no_averaged_ones(
    tmp_path: Path,
) -> None:
    model, path = WIRINGS["stylegan2"].model(), tmp_path / "raw.pt"
    torch.save({"g": state_of(model)}, path)
    with pytest.warns(UserWarning, match=r"raw\.pt has no averaged weights \(g_ema\) beside 'g'"):
        found = import_model("stylegan2", path)
    assert found.discriminator is None
    shown = WIRINGS["stylegan2"].inputs(2)
    torch.testing.assert_close(found(*shown), model(*shown), rtol=1e-4, atol=1e-5)


def test_nothing_is_said_where_both_are_there_or_one_is_asked_for(tmp_path: Path) -> None:
    raw, averaged = (WIRINGS["stylegan2"].model(seed) for seed in (0, 1))
    path = tmp_path / "both.pt"
    torch.save({"g": state_of(raw), "g_ema": state_of(averaged)}, path)
    shown = WIRINGS["stylegan2"].inputs(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, wanted in ((None, averaged), ("g", raw)):
            found = import_model("stylegan2", path, entry=name)
            torch.testing.assert_close(found(*shown), wanted(*shown), rtol=1e-4, atol=1e-5)
