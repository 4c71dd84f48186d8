"""A teacher never changes, and never works twice for the same crop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import PIXELS, WIRINGS, Wiring, every_picture_wiring, photos
from patience import PATIENCE_S
from torch import Tensor

import ganpress.training.kept_outputs as files
from ganpress.data import open_images
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import fingerprint
from ganpress.models.source import Source
from ganpress.training.shared_settings import DataSettings
from ganpress.training.teacher import CachedTeacher, cached_teacher
from ganpress.types import Inputs

CROPS = 12
ALL = photos(CROPS, seed=9)


def batch(*ids: int) -> tuple[Inputs, Tensor]:
    return (ALL[list(ids)],), torch.tensor(ids)


def no_ids(*ids: int) -> tuple[Inputs, Tensor]:
    return (ALL[list(ids)],), torch.full((len(ids),), -1)


@pytest.fixture
def teacher(tmp_path: Path) -> Callable[[], CachedTeacher]:
    """A teacher over the same cache each time it is opened."""
    return lambda: CachedTeacher(
        WIRINGS["cyclegan affine"].net(), cache=tmp_path / "cache", crops=CROPS, size=PIXELS
    )


def made(*ids: int) -> Tensor:
    """What the network itself makes of each crop, rounded to half precision."""
    net = WIRINGS["cyclegan affine"].net()
    with torch.no_grad():
        return torch.cat([net(ALL[i : i + 1]) for i in ids]).half().float()


def test_cached_pictures_equal_the_networks_own_in_half_precision(
    teacher: Callable[[], CachedTeacher],
) -> None:
    t = teacher()
    first = t(*batch(3, 0, 7)).pictures
    assert torch.equal(first, made(3, 0, 7))
    assert torch.equal(t(*batch(7, 3)).pictures, first[[2, 0]])


def test_a_crop_that_was_seen_is_not_computed_again(teacher: Callable[[], CachedTeacher]) -> None:
    t = teacher()
    calls = []
    t.net.register_forward_hook(lambda *_: calls.append(1))
    t(*batch(1, 2, 3))
    # only what is read back counts as recalled: a crop's first sight did, too, before
    assert (len(calls), t.computed, t.recalled) == (3, 3, 0)
    t(*batch(3, 2, 1))
    assert (len(calls), t.computed, t.recalled) == (3, 3, 3)
    t(*batch(2, 4, 4))
    assert (len(calls), t.computed, t.recalled) == (4, 4, 5)


def test_the_cache_survives_being_opened_again(teacher: Callable[[], CachedTeacher]) -> None:
    first = teacher()(*batch(0, 5, 11)).pictures
    again = teacher()
    assert torch.equal(again(*batch(0, 5, 11)).pictures, first)
    assert (again.computed, again.recalled) == (0, 3)
    again(*batch(6))
    assert again.computed == 1


@pytest.mark.parametrize("suffix", [".f16", ".known"])
@pytest.mark.parametrize("how", ["cut short", "missing", "too long"])
def test_a_torn_cache_is_started_anew(
    teacher: Callable[[], CachedTeacher], tmp_path: Path, suffix: str, how: str
) -> None:
    teacher()(*batch(0, 5, 11))
    path = tmp_path / "cache" / f"{PIXELS}px{suffix}"
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-5] if how == "cut short" else data + b"12345")
    again = teacher()
    assert torch.equal(again(*batch(0, 5, 11)).pictures, made(0, 5, 11))
    assert again.computed == 3


def test_a_cache_that_two_start_at_once_is_not_taken_from_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second opens it while the first has reserved one of its two files."""
    reserve, sizes = files._reserve, (1, 3, 4, 4)

    def fill() -> None:
        known, kept = files._open(tmp_path / "4px", sizes)
        kept[0], known[0] = 5, True

    second = threading.Thread(target=fill)

    def meanwhile(path: Path, size: int) -> None:
        if path.suffix == ".f16" and second.ident is None:
            second.start()
            second.join(0.2)
        reserve(path, size)

    monkeypatch.setattr(files, "_reserve", meanwhile)
    known, kept = files._open(tmp_path / "4px", sizes)
    second.join(PATIENCE_S)
    assert known[0] and (kept[0] == 5).all()


def test_pictures_do_not_depend_on_who_else_is_in_the_batch(
    teacher: Callable[[], CachedTeacher], tmp_path: Path
) -> None:
    together = teacher()(*batch(1, 2, 3, 4)).pictures
    net = WIRINGS["cyclegan affine"].net()
    alone = CachedTeacher(net, cache=tmp_path / "other", crops=CROPS, size=PIXELS)
    assert torch.equal(torch.cat([alone(*batch(i)).pictures for i in (1, 2, 3, 4)]), together)


def test_what_is_returned_can_be_written_to_without_harm(
    teacher: Callable[[], CachedTeacher],
) -> None:
    t = teacher()
    t(*batch(2)).pictures.zero_()
    assert torch.equal(t(*batch(2)).pictures, made(2))


def test_caches_of_different_sizes_live_side_by_side(tmp_path: Path) -> None:
    net = WIRINGS["cyclegan affine"].net()
    for size in (16, PIXELS):
        t = CachedTeacher(net, cache=tmp_path, crops=CROPS, size=size)
        t((ALL[:2, :, :size, :size],), torch.tensor([0, 1]))
        assert t.computed == 2
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == [
        "16px.f16",
        "16px.known",
        "32px.f16",
        "32px.known",
    ]


def test_packs_that_differ_in_their_pixels_alone_share_no_cache(tmp_path: Path) -> None:
    teacher = WIRINGS["cyclegan affine"].model()
    data = DataSettings(cached_crops=1, teacher_cache=str(tmp_path / "cache"))
    for name, value in (("dark", 0), ("bright", 255), ("dark again", 0)):
        np.savez(tmp_path / f"{name}.npz", images=np.full((2, 32, 32, 3), value, np.uint8))
        images = open_images(tmp_path / f"{name}.npz")
        cached_teacher(Source(teacher, images), data, tmp_path / "run", PIXELS)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_crops_without_a_number_are_computed_each_time(
    teacher: Callable[[], CachedTeacher],
) -> None:
    t = teacher()
    for _ in range(2):
        out = t(*no_ids(1, 2)).pictures
        assert (out - made(1, 2)).abs().max() <= 1e-3
    assert (t.computed, t.recalled) == (4, 0)


def test_without_fixed_crops_nothing_is_written(tmp_path: Path) -> None:
    t = CachedTeacher(
        WIRINGS["cyclegan affine"].net(), cache=tmp_path / "cache", crops=0, size=PIXELS
    )
    t(*batch(1))
    assert not (tmp_path / "cache").exists()


TAPS = ["up2", "blocks.0"]


def maps_made(*ids: int) -> dict[str, Tensor]:
    """The network's own maps of each crop, rounded to half precision."""
    net = WIRINGS["cyclegan affine"].net()
    with torch.no_grad():
        blocks, ups = [], []
        for i in ids:
            blocks.append(net.blocks[0](net.down2(net.down1(net.stem(ALL[i : i + 1])))))
            trunk = blocks[-1]
            for block in net.blocks[1:]:
                trunk = block(trunk)
            ups.append(net.up2(net.up1(trunk)))
    return {"blocks.0": torch.cat(blocks).half().float(), "up2": torch.cat(ups).half().float()}


def equal_maps(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


def test_feature_maps_of_a_crop_are_kept_beside_its_picture(
    teacher: Callable[[], CachedTeacher],
) -> None:
    t = teacher()
    found = t(*batch(4, 1), taps=TAPS)
    assert equal_maps(found.maps, maps_made(4, 1))
    assert torch.equal(found.pictures, made(4, 1))
    assert (t.computed, t.recalled) == (2, 0)
    again = t(*batch(1, 4), taps=TAPS)
    assert equal_maps(again.maps, maps_made(1, 4)) and torch.equal(again.pictures, made(1, 4))
    assert (t.computed, t.recalled) == (2, 2)
    assert not t(*batch(4)).maps and t.computed == 2


def test_kept_maps_survive_being_opened_again(teacher: Callable[[], CachedTeacher]) -> None:
    teacher()(*batch(4, 1), taps=TAPS)
    again = teacher()
    assert equal_maps(again(*batch(4, 1), taps=TAPS).maps, maps_made(4, 1))
    assert (again.computed, again.recalled) == (0, 2)


def test_a_map_that_was_not_asked_for_before_is_made_for_the_crops_that_lack_it(
    teacher: Callable[[], CachedTeacher],
) -> None:
    t = teacher()
    t(*batch(4, 1), taps=["up2"])
    t(*batch(7))
    found = t(*batch(4, 7, 1), taps=["up2"])
    assert torch.equal(found.maps["up2"], maps_made(4, 7, 1)["up2"])
    assert (t.computed, t.recalled) == (4, 2)  # 7 once more, for its map
    assert equal_maps(t(*batch(1, 7), taps=TAPS).maps, maps_made(1, 7))
    assert t.computed == 6


def test_without_kept_maps_they_come_with_a_picture_that_is_made_anew(tmp_path: Path) -> None:
    net = WIRINGS["cyclegan affine"].net()
    t = CachedTeacher(net, cache=tmp_path, crops=CROPS, size=PIXELS, maps=False)
    kept = sorted(p.name for p in tmp_path.iterdir())
    for done in (2, 4):
        found = t(*batch(4, 1), taps=TAPS)
        assert (t.computed, t.recalled) == (done, 0)
    with torch.no_grad():
        block = net.blocks[0](net.down2(net.down1(net.stem(ALL[[4, 1]]))))
        assert torch.equal(found.maps["blocks.0"], block)
        assert torch.equal(net.out(found.maps["up2"]), found.pictures)
    assert sorted(p.name for p in tmp_path.iterdir()) == kept
    assert t.room(batch(4)[0], TAPS) == 0


def test_the_room_that_maps_take_is_known_before_they_are_kept(
    teacher: Callable[[], CachedTeacher], tmp_path: Path
) -> None:
    t = teacher()
    told = t.room(batch(4)[0], TAPS)
    before = sum(p.stat().st_size for p in (tmp_path / "cache").glob("*.f16"))
    t(*batch(4), taps=TAPS)
    after = sum(p.stat().st_size for p in (tmp_path / "cache").glob("*.f16"))
    assert told == after - before > 0
    assert t.room(batch(4)[0], TAPS) == teacher().room(batch(4)[0], TAPS) == 0


def test_a_map_beyond_half_precision_is_refused_with_a_way_out(tmp_path: Path) -> None:
    net = WIRINGS["cyclegan affine"].net()
    with torch.no_grad():
        net.stem.register_forward_hook(lambda _, __, out: out * 1e7)
    t = CachedTeacher(net, cache=tmp_path, crops=CROPS, size=PIXELS)
    with pytest.raises(ConfigError, match=r"'stem' holds .* most 65504.*data\.cached_maps=false"):
        t(*batch(4), taps=["stem"])
    t(*batch(4), taps=["blocks.0"])


@every_picture_wiring
def test_a_teacher_never_leaves_eval_and_never_changes_a_bit(
    wiring: Wiring, tmp_path: Path
) -> None:
    net = wiring.net().train()
    t = CachedTeacher(net, cache=tmp_path, crops=CROPS, size=PIXELS)
    before = fingerprint(net)
    student = wiring.net(1).train()
    optimiser = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 0.1)
    for step in range(2):
        out = t(*batch(step, step + 1) if step else no_ids(0, 1)).pictures
        assert not out.requires_grad
        (student(ALL[:2]) - out).square().mean().backward()
        optimiser.step()
    assert not any(module.training for module in t.net.modules())
    assert not any(p.requires_grad or p.grad is not None for p in t.net.parameters())
    assert fingerprint(t.net) == before
