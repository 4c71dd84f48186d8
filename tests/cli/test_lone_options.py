"""An option that says more of another one is refused without it: none is passed over in silence."""

from __future__ import annotations

import pytest
from cli_runs import run_cli

COMPRESS = ("compress", "slim", "-t", "t.safetensors", "--run", "r")
ABLATE = ("ablate", "slim", "-t", "t.safetensors", "--run", "r", "--images", "i")
EVALUATE = ("evaluate", "m.safetensors")


@pytest.mark.parametrize(
    ("command", "alone", "needed"),
    [
        (COMPRESS, ("--pairs", "p"), "--images"),
        (COMPRESS, ("--side-by-side", "AB"), "--images"),
        (COMPRESS, ("--images", "i", "--test-labels", "p"), "--test"),
        (ABLATE, ("--test-pairs", "p"), "--test"),
        (EVALUATE, ("-t", "t.safetensors", "--labels", "p"), "--images"),
        (EVALUATE, ("--images", "i", "--mask-min-area", "0.1"), "--mask"),
        (("site", "m.safetensors", "-o", "page"), ("--side-by-side", "AB"), "--images"),
        (("serve", "m.safetensors"), ("--side-by-side", "AB"), "--images"),
    ],
)
def test_an_option_that_goes_with_another_is_refused_alone(
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    alone: tuple[str, ...],
    needed: str,
) -> None:
    done = run_cli(capsys, *command, *alone)
    name = [word for word in alone if word.startswith("--")][-1]
    assert done.code == 2
    assert f"{name} says more of {needed}, which is not given: give that, too" in done.err


def test_the_device_is_not_chosen_where_it_would_not_be_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = run_cli(capsys, *EVALUATE, "--images", "i", "-t", "t", "--device", "cuda")
    assert done.code == 2 and "leave --device out" in done.err
