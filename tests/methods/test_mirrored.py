"""Where `data.flip` says that no picture is mirrored, none is: in what BatchNorm's statistics and
the ranges of quantisers are read from, too."""

from __future__ import annotations

from pathlib import Path

import ofa_runs
import pytest
import slim_runs
import torch
from family_runs import write_domains
from nets import WIRINGS

from ganpress.methods.base import Given
from ganpress.models.source import Sampled, Source
from ganpress.run.run import Run

EIGHT_BITS = {"bits": 8}


def given(home: Path) -> Given:
    write_domains(home, 8)
    return Given(
        ofa_runs.teacher_of("cyclegan batch"), ofa_runs.images_for(WIRINGS["cyclegan batch"], home)
    )


def slimmed(home: Path, flip: bool) -> None:
    of = given(home)
    config = slim_runs.settings(
        data={"flip": flip}, target={"macs": 0.5}, quantise=EIGHT_BITS,
        sparsify={"steps": 1, "rounds": 1}, finetune={"steps": 1},
    )  # fmt: skip
    slim_runs.slim(of.teacher, of.images, config, Run(home / "run", quiet=True))


def once_for_all(home: Path, flip: bool) -> None:
    config = ofa_runs.settings(
        data={"flip": flip}, quantise=EIGHT_BITS, supernet={"steps": 1}, finetune={"steps": 1}
    )
    ofa_runs.press(given(home), config, home / "run")


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("compress", [slimmed, once_for_all])
def test_pictures_that_only_statistics_are_read_from_are_mirrored_as_those_of_training(
    compress: object, flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    original = Source.sampled

    def listen(self: Source, *shape: int, flip: bool = True) -> Sampled:
        asked.append(flip)
        return original(self, *shape, flip=flip)

    monkeypatch.setattr(Source, "sampled", listen)
    assert callable(compress)
    compress(tmp_path, flip)
    assert len(asked) > 1 and set(asked) == {flip}


def test_mirrored_pictures_are_half_of_them_and_none_without(tmp_path: Path) -> None:
    wiring = WIRINGS["cyclegan batch"]
    write_domains(tmp_path, 1)
    source = Source(wiring.model(), ofa_runs.images_for(wiring, tmp_path))
    kinds = {}
    for flip in (False, True):
        drawn = source.sample(16, 32, flip=flip)[0]
        kinds[flip] = {tuple(x.flatten().tolist()) for x in drawn}
    plain = next(iter(kinds[False]))
    mirrored = tuple(torch.tensor(plain).reshape(3, 32, 32).flip(2).flatten().tolist())
    assert kinds == {False: {plain}, True: {plain, mirrored}}
