"""A network is put in eval mode for a while, and left as it was."""

from __future__ import annotations

import pytest
import torch
from nets import WIRINGS, photos
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.nn.layers import quantisable, read_inputs
from ganpress.nn.modes import in_eval


def partly_frozen() -> nn.Module:
    """In training but for one norm, as where statistics are to stay as they are."""
    net = WIRINGS["cyclegan batch"].net().train()
    net.stem.norm.eval()
    return net


def modes(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_each_module_has_its_own_mode_again() -> None:
    net = partly_frozen()
    before = modes(net)
    with in_eval(net) as same:
        assert same is net
        assert not any(modes(net))
    assert modes(net) == before
    assert len(set(before)) == 2


def test_a_model_that_is_called_keeps_the_modes_of_its_parts() -> None:
    model = WIRINGS["cyclegan batch"].model()
    model.net = partly_frozen()
    before = modes(model.net)
    model(photos())
    assert modes(model.net) == before


def test_a_picture_that_does_not_fit_leaves_modes_as_they_were_and_no_hook_behind() -> None:
    model, odd = WIRINGS["cyclegan batch"].model(), torch.zeros(1, 3, 33, 33)
    model.net = partly_frozen()
    before = modes(model.net)
    with pytest.raises(ConfigError, match="size is 33"):
        model(odd)
    with pytest.raises(ConfigError, match="size is 33"):
        read_inputs(model.net, quantisable(model.net), (odd,), Tensor.mean)
    assert modes(model.net) == before
    assert not any(module._forward_pre_hooks for module in model.net.modules())
