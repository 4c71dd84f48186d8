"""Where a network is to run: one refusal for pictures, evaluation and projection."""

from __future__ import annotations

import pytest
import torch

from ganpress.errors import ConfigError
from ganpress.models.device import check_device


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:", "cuda:x", "cuda 1", ""])
def test_a_device_that_torch_would_not_understand_is_refused_with_those_there_are(
    device: str,
) -> None:
    with pytest.raises(ConfigError, match=f"device is '{device}': it is one of cpu, cuda"):
        check_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_is_refused_where_torch_sees_none(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"device is '{device}', but torch sees no CUDA device"):
        check_device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device(device)
    check_device("cpu")
