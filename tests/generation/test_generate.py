"""`ganpress run`: the pictures of a folder or of noise, under their names, and only once."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cli_runs import Told, run_cli
from nets import WIRINGS, Wiring
from PIL import Image
from torch import Tensor

import ganpress
from ganpress.errors import CheckpointError, ConfigError, ImagesError, Interrupted
from ganpress.generation import pipeline
from ganpress.generation.jobs import out_names
from ganpress.generation.record import NAME, open_record
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.families.gaugan import semantics
from ganpress.quantisation.quantise import FakeQuantiser, quantise


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photos(folder: Path, **shapes: tuple[int, int]) -> Path:
    """PNGs by name; '__' in a name is a sub-folder."""
    for i, (name, shape) in enumerate(shapes.items()):
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(*shape, seed=i)).save(path)
    return folder


def saved(tmp_path: Path, wiring: str) -> tuple[Path, Model]:
    model = WIRINGS[wiring].model()
    return save(model, tmp_path / "net.safetensors"), load(tmp_path / "net.safetensors")


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture)


def unit(path: Path) -> Tensor:
    return torch.from_numpy(pixels(path).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def as_bytes(made: Tensor) -> Any:
    return ((made[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def ran(capsys: pytest.CaptureFixture[str], *arguments: object) -> Told:
    told = run_cli(capsys, "run", *arguments)
    assert told.code == 0, told.err
    return told


def made_in(folder: Path) -> list[str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != NAME)
    return sorted(p.relative_to(folder).as_posix() for p in files)


def by_hand(model: Model, path: Path, *border: int) -> Any:
    """What torch alone makes of a photo with reflected borders (left, right, top, bottom)."""
    x = unit(path)
    height, width = x.shape[2:]
    if border:
        x = F.pad(x, border, mode="reflect")
    top, left = (border[2], border[0]) if border else (0, 0)
    return as_bytes(model(x)[:, :, top : top + height, left : left + width])


def near(a: Any, b: Any) -> bool:
    """The same but for roundings: a batch sums in another order."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


@pytest.mark.parametrize("wiring", ["cyclegan instance", "cartoongan", "pix2pix instance"])
def test_each_photo_becomes_what_torch_makes_of_it_under_its_name(
    wiring: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = saved(tmp_path, wiring)
    source = photos(tmp_path / "in", a=(32, 64), sub__b=(64, 32), sub__deep__c=(32, 32))
    told = ran(capsys, file, "--images", source, "-o", tmp_path / "out")
    assert made_in(tmp_path / "out") == ["a.png", "sub/b.png", "sub/deep/c.png"]
    for name in made_in(tmp_path / "out"):
        assert near(pixels(tmp_path / "out" / name), by_hand(model, source / name))
    assert re.search(r"3 made\n\d+\.\d\d pictures a second: the network took \d+% of", told.out)
    assert told.err == ""  # nothing else to say


def test_other_sizes_are_padded_by_reflection_and_cropped_back_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = saved(tmp_path, "cyclegan instance")
    source = photos(tmp_path / "in", a=(33, 31), b=(31, 47), c=(32, 32))
    told = ran(capsys, file, "--images", source, "-o", tmp_path / "out")
    assert near(pixels(tmp_path / "out/a.png"), by_hand(model, source / "a.png", 0, 1, 1, 2))
    assert near(pixels(tmp_path / "out/b.png"), by_hand(model, source / "b.png", 0, 1, 0, 1))
    assert told.err.count("padded by reflection") == 1
    assert "a.png has 33x31 pixels (height x width)" in told.err and "to 36x32" in told.err


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 90), (15, 17)])
@pytest.mark.parametrize("wiring", ["cyclegan instance", "pix2pix instance", "munit"])
def test_pictures_of_any_size_are_taken(
    wiring: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    source = photos(tmp_path / "in", a=shape)
    found = ganpress.generate(WIRINGS[wiring].model(), tmp_path / "out", images=source, quiet=True)
    assert pixels(tmp_path / "out/a.png").shape == (*shape, 3) and found.padded == 1


def test_a_size_resizes_and_crops_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, model = saved(tmp_path, "cyclegan instance")
    source = photos(tmp_path / "in", a=(48, 96))
    ran(capsys, file, "--images", source, "-o", tmp_path / "out", "--size", "32x48")
    small = Image.open(source / "a.png").resize((64, 32), Image.Resampling.BICUBIC)
    small.crop((8, 0, 56, 32)).save(tmp_path / "small.png")
    assert near(pixels(tmp_path / "out/a.png"), by_hand(model, tmp_path / "small.png"))


def test_the_batch_and_the_workers_change_nothing(tmp_path: Path) -> None:
    shapes = {f"p{i}": ((32, 32) if i % 3 else (32, 48)) for i in range(7)}
    source, model = photos(tmp_path / "in", **shapes), WIRINGS["cartoongan"].model()
    for batch, workers in ((1, 1), (3, 2), (16, 5)):
        out = tmp_path / f"{batch}"
        ganpress.generate(
            model, out, images=source, batch=batch, workers=workers, threads=1, quiet=True
        )
        assert made_in(out) == [f"p{i}.png" for i in range(7)]
        for name in made_in(out):
            assert near(pixels(out / name), pixels(tmp_path / "1" / name))


def test_formats_are_kept_and_the_quality_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = saved(tmp_path, "cyclegan instance")
    (tmp_path / "in").mkdir()
    ends = {"a.JPG": "JPEG", "b.jpeg": "JPEG", "c.webp": "WEBP", "d.bmp": "BMP", "e.TIFF": "TIFF"}
    for name, kind in ends.items():
        Image.fromarray(noise(32, 32)).save(tmp_path / "in" / name, kind)
    told = ran(capsys, file, "--images", tmp_path / "in", "-o", tmp_path / "out")
    for name, kind in ends.items():
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.format == kind
    assert "quality of JPEG and WEBP: 95" in told.err
    fine = (tmp_path / "out/b.jpeg").stat().st_size
    again = ("--images", tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--quality", 20)
    ran(capsys, file, *again)
    assert (tmp_path / "out/b.jpeg").stat().st_size < 0.7 * fine


def test_what_pillow_cannot_write_well_becomes_a_png_without_taking_anothers_name() -> None:
    assert out_names(["a.gif", "b.gif", "b.png", "c", "d.xyz", "e.v1"]) == {
        **{"b.png": "b.png", "a.gif": "a.png", "b.gif": "b.gif.png"},
        **{"c": "c.png", "d.xyz": "d.png", "e.v1": "e.png"},
    }
    twice = out_names(["a.gif", "a.heic"])
    assert twice == {"a.gif": "a.png", "a.heic": "a.heic.png"}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (4, "RGBA")])
def test_grey_and_transparent_pictures_are_read_and_written_as_they_are(
    channels: int, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"in_channels": channels, "out_channels": channels}
    save(Wiring("cyclegan", counts).model(), tmp_path / "net.safetensors")
    model = load(tmp_path / "net.safetensors")
    (tmp_path / "in").mkdir()
    stored = np.random.default_rng(0).integers(0, 256, (32, 36, channels), np.uint8)
    whole = Image.fromarray(stored[:, :, 0] if channels == 1 else stored)
    assert whole.mode == mode
    whole.save(tmp_path / "in" / "a.png")
    whole.convert("L").save(tmp_path / "in" / "b.jpg")
    ran(capsys, tmp_path / "net.safetensors", "--images", tmp_path / "in", "-o", tmp_path / "out")
    x = torch.from_numpy(stored).permute(2, 0, 1)[None].float() / 127.5 - 1
    made = pixels(tmp_path / "out" / "a.png")
    assert (made.reshape(32, 36, channels) == as_bytes(model(x))).all()
    kept = "b.jpg" if channels == 1 else "b.png"  # a JPEG has no alpha
    assert sorted(p.name for p in (tmp_path / "out").glob("[ab].*")) == ["a.png", kept]


def test_a_single_picture_a_pack_and_several_folders_are_taken(tmp_path: Path) -> None:
    model = WIRINGS["cyclegan instance"].model()
    one, two = photos(tmp_path / "x/one", a=(32, 32)), photos(tmp_path / "x/two", a=(32, 32))
    np.savez(tmp_path / "pack.npz", images=np.stack([noise(32, 32), noise(32, 32, 1)]))
    for i, (images, want) in enumerate(
        [
            (one / "a.png", ["a.png"]),
            (tmp_path / "pack.npz", ["00000.png", "00001.png"]),
            ([one, two], ["one/a.png", "two/a.png"]),
        ]
    ):
        ganpress.generate(model, tmp_path / str(i), images=images, quiet=True)
        assert made_in(tmp_path / str(i)) == want


def test_noise_is_a_function_of_the_seed_and_the_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = saved(tmp_path, "sngan")
    for out, count, seed in (("a", 3, 1), ("b", 5, 1), ("c", 3, 2)):
        ran(capsys, file, "--count", count, "--seed", seed, "-o", tmp_path / out)
    a, b, c = (
        [pixels(p) for p in sorted((tmp_path / out).glob("*.png"))] for out in ("a", "b", "c")
    )
    assert len(b) == 5 and all(np.array_equal(p, q) for p, q in zip(a, b[:3], strict=True))
    assert len({p.tobytes() for p in (*b, *c)}) == 8
    told = ran(capsys, file, "--count", 5, "--seed", 1, "-o", tmp_path / "a")  # two more
    assert "2 made, 3 were there already" in told.out


def test_truncation_goes_from_the_picture_to_the_mean_picture(tmp_path: Path) -> None:
    model = WIRINGS["stylegan2"].model()

    def shown(out: str, psi: float | None) -> list[Any]:
        folder = tmp_path / out
        ganpress.generate(model, folder, count=2, truncation=psi, quiet=True)
        return [pixels(p).astype(int) for p in sorted(folder.glob("*.png"))]

    for i in range(16):  # without noise maps the style alone makes a picture
        if hasattr(model.net, "layers") and i < len(model.net.layers):
            model.net.layers[i].strength.data.zero_()
    plain, one, mean = shown("plain", None), shown("one", 1.0), shown("zero", 0.0)
    assert all(np.abs(p - q).max() <= 1 for p, q in zip(plain, one, strict=True))
    assert np.abs(plain[0] - plain[1]).max() > 1
    assert np.abs(mean[0] - mean[1]).max() <= 1


def test_a_class_is_that_of_all_pictures(tmp_path: Path) -> None:
    model = WIRINGS["sngan conditional"].model()
    seen: list[Tensor] = []
    model.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    ganpress.generate(model, tmp_path / "out", count=3, label=2, batch=2, quiet=True)
    assert torch.cat(seen).tolist() == [[0, 0, 1, 0]] * 3
    with pytest.raises(ConfigError, match="class is 4: this generator has 4, 0 to 3"):
        ganpress.generate(model, tmp_path / "x", count=1, label=4)


def test_label_maps_are_encoded_padded_and_named(tmp_path: Path) -> None:
    model = WIRINGS["gaugan"].model()  # 4 labels, edges; multiples of 32
    ids = np.random.default_rng(0).integers(0, 4, (40, 64)).astype(np.uint8)
    things = np.random.default_rng(1).integers(0, 3, (40, 64)).astype(np.uint8)
    for kind, array in (("l", ids), ("i", things)):
        (tmp_path / kind).mkdir()
        Image.fromarray(array).save(tmp_path / kind / "a.png")
    out, where = tmp_path / "out", {"labels": tmp_path / "l", "instances": tmp_path / "i"}
    ganpress.generate(model, out, **where, quiet=True)
    maps = [torch.from_numpy(np.pad(a, ((12, 12), (0, 0)), "reflect"))[None].long()
            for a in (ids, things)]  # fmt: skip
    want = as_bytes(model(semantics(*maps, count=4, edges=True))[:, :, 12:52])
    assert near(pixels(out / "a.png"), want)
    Image.fromarray(ids + 1).save(tmp_path / "l" / "a.png")
    with pytest.raises(ImagesError, match=r"l/a\.png: A label map holds id 4"):
        ganpress.generate(model, tmp_path / "x", **where, quiet=True)


def test_munits_style_is_one_for_all_by_seed_or_by_a_picture(tmp_path: Path) -> None:
    model = WIRINGS["munit"].model()
    source = photos(tmp_path / "in", a=(32, 32), b=(32, 48))
    like = photos(tmp_path / "style", s=(40, 44)) / "s.png"
    ganpress.generate(model, tmp_path / "by", images=source, style=like, quiet=True)
    code = model.net.encode_style(unit(like)).flatten(1).detach()
    for name in ("a.png", "b.png"):
        want = as_bytes(model(unit(source / name), code))
        assert near(pixels(tmp_path / "by" / name), want)
    seen: list[Tensor] = []
    model.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for seed in (3, 3, 4):
        out = tmp_path / f"seed{len(seen)}"
        ganpress.generate(model, out, images=source, seed=seed, quiet=True)
    assert all(torch.equal(seen[0], s) for s in seen[1:4])
    assert torch.equal(seen[4], seen[5]) and not torch.equal(seen[0], seen[4])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_style_is_read_in_the_channels_of_the_pictures_that_are_made(
    channels: int, tmp_path: Path
) -> None:
    """The style encoder sees pictures of the second domain."""
    model = Wiring("munit", {"out_channels": channels}).model()
    model.net.train()
    source, like = photos(tmp_path / "in", a=(32, 32)), tmp_path / "s.png"
    Image.fromarray(noise(40, 44)).convert("L").save(like)
    ganpress.generate(model, tmp_path / "out", images=source, style=like, quiet=True)
    assert model.net.training
    grey = torch.from_numpy(pixels(like).copy())[None, None].float() / 127.5 - 1
    colours = grey.expand(-1, channels - 1 + channels % 2, -1, -1)
    shown = torch.cat([colours, torch.ones_like(grey)], 1) if channels in (2, 4) else grey
    want = as_bytes(model(unit(source / "a.png"), model.net.encode_style(shown).detach()))
    assert near(pixels(tmp_path / "out" / "a.png"), want[:, :, 0] if channels == 1 else want)


# --- what is there already ------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stopping_after(count: int, monkeypatch: pytest.MonkeyPatch, stop: Callable[[], None]) -> None:
    """Let the network run ``count`` times, then stop."""
    real, calls = pipeline._run, []

    def run(*arguments: Any) -> Tensor:
        calls.append(1)
        if len(calls) > count:
            stop()
        return real(*arguments)

    monkeypatch.setattr(pipeline, "_run", run)


def test_a_run_that_died_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = saved(tmp_path, "cyclegan instance")
    source = photos(tmp_path / "in", **{f"p{i}": (32, 32) for i in range(5)})

    def die() -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stopping_after(2, patch, die)
        ganpress.generate(file, tmp_path / "out", images=source, workers=1, quiet=True)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.png")}
    assert set(before) <= {"p0.png", "p1.png"}
    told = ran(capsys, file, "--images", source, "-o", tmp_path / "out")
    assert f"{5 - len(before)} made" in told.out
    assert made_in(tmp_path / "out") == [f"p{i}.png" for i in range(5)]
    assert all((tmp_path / "out" / n).stat().st_mtime_ns == t for n, t in before.items())
    assert near(pixels(tmp_path / "out/p4.png"), by_hand(model, source / "p4.png"))
    told = ran(capsys, file, "--images", source, "-o", tmp_path / "out")
    assert "0 made, 5 were there already" in told.out and "second" not in told.out


def test_a_signal_ends_with_whole_files_its_exit_code_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = saved(tmp_path, "cyclegan instance")
    source = photos(tmp_path / "in", **{f"p{i}": (32, 32) for i in range(6)})
    with monkeypatch.context() as patch:
        stopping_after(2, patch, lambda: signal.raise_signal(signal.SIGINT))
        told = run_cli(capsys, "run", file, "--images", source, "-o", tmp_path / "out")
    assert told.code == 130 and "Stopped: 3 of 6 pictures are made. Run the same" in told.err
    assert made_in(tmp_path / "out") == ["p0.png", "p1.png", "p2.png"]
    assert (
        "3 made, 3 were there" in ran(capsys, file, "--images", source, "-o", tmp_path / "out").out
    )


def test_the_same_weights_under_other_quantisers_are_another_model(tmp_path: Path) -> None:
    model, source = WIRINGS["cyclegan instance"].model(), photos(tmp_path / "in", a=(32, 32))
    ganpress.generate(model, tmp_path / "out", images=source, quiet=True)
    again = ganpress.generate(model, tmp_path / "out", images=source, quiet=True)
    assert (again.made, again.skipped) == (0, 1)
    quantise(model.net, FakeQuantiser(bits=2))
    with pytest.raises(ConfigError, match="this model did not make them"):
        ganpress.generate(model, tmp_path / "out", images=source, quiet=True)
    ganpress.generate(model, tmp_path / "out", images=source, overwrite=True, quiet=True)
    assert near(pixels(tmp_path / "out/a.png"), as_bytes(model(unit(source / "a.png"))))


def test_files_of_another_origin_are_never_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = saved(tmp_path, "cyclegan instance")
    source, out = photos(tmp_path / "in", a=(32, 32), b=(32, 32)), tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_bytes(b"mine")
    told = run_cli(capsys, "run", file, "--images", source, "-o", out)
    assert told.code == 2 and "1 of the files to write already, such as b.png" in told.err
    assert made_in(out) == ["b.png"] and (out / "b.png").read_bytes() == b"mine"
    assert "2 made" in ran(capsys, file, "--images", source, "-o", out, "--overwrite").out
    first = pixels(out / "b.png")
    other = save(WIRINGS["cyclegan instance"].model(seed=5), tmp_path / "other.safetensors")
    for change in (
        [other, "--images", source],
        [file, "--images", source, "--size", 16],
        [file, "--images", photos(tmp_path / "in2", a=(32, 32))],
    ):
        told = run_cli(capsys, "run", *change, "-o", out)
        assert told.code == 2 and "--overwrite" in told.err
    assert np.array_equal(pixels(out / "b.png"), first)
    assert "2 made" in ran(capsys, other, "--images", source, "-o", out, "--overwrite").out
    assert not np.array_equal(pixels(out / "b.png"), first)


def test_an_overwriting_run_that_died_goes_on_and_takes_no_old_file_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos(tmp_path / "in", **{f"p{i}": (32, 32) for i in range(4)})
    old, new = (WIRINGS["cyclegan instance"].model(seed=s) for s in (1, 2))
    ganpress.generate(old, tmp_path / "out", images=source, quiet=True)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stopping_after(1, patch, lambda: signal.raise_signal(signal.SIGTERM))
        ganpress.generate(new, tmp_path / "out", images=source, overwrite=True, quiet=True)
    found = ganpress.generate(new, tmp_path / "out", images=source, overwrite=True, quiet=True)
    assert (found.made, found.skipped) == (2, 2)
    for i in range(4):
        assert near(pixels(tmp_path / f"out/p{i}.png"), by_hand(new, source / f"p{i}.png"))
    found = ganpress.generate(new, tmp_path / "out", images=source, overwrite=True, quiet=True)
    assert (found.made, found.skipped) == (4, 0)


def test_a_death_between_the_log_and_the_picture_leaves_no_old_picture_as_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    record = open_record(tmp_path, {"model": 1}, ["a.png", "b.png"], overwrite=True)

    def die(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Path, "replace", die)
        record.put("a.png", b"new")
    again = open_record(tmp_path, {"model": 1}, ["a.png", "b.png"], overwrite=True)
    assert again.made == frozenset()
    again.put("a.png", b"new")
    assert open_record(tmp_path, {"model": 1}, ["a.png", "b.png"], overwrite=True).made == {"a.png"}
    with (tmp_path / NAME).open("a") as file:
        file.write('"b.p')  # torn
    assert open_record(tmp_path, {"model": 1}, ["a.png"], overwrite=False).made == {"a.png"}


# --- bad input ------------------------------------------------------------------------------------


def test_unreadable_pictures_are_left_out_and_named_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = saved(tmp_path, "cyclegan instance")
    source = photos(tmp_path / "in", a=(32, 32), c=(32, 32))
    (source / "b.jpg").write_bytes(b"<html>")
    told = ran(capsys, file, "--images", source, "-o", tmp_path / "out")
    assert "Left out 1 of 3 images" in told.err and "b.jpg" in told.err
    assert made_in(tmp_path / "out") == ["a.png", "c.png"]
    assert "b.jpg" in ran(capsys, file, "--images", source, "-o", tmp_path / "out").err
    strict = run_cli(capsys, "run", file, "--images", source, "-o", tmp_path / "s", "--strict")
    assert strict.code == 2 and "b.jpg" in strict.err
    alone = run_cli(capsys, "run", file, "--images", source / "b.jpg", "-o", tmp_path / "t")
    assert alone.code == 2 and "Nothing is left" in alone.err


ASKED: dict[str, tuple[str, list[str], str]] = {
    "no photos": ("cyclegan instance", [], "reads photos: give them (--images DIR)"),
    "count of photos": ("cyclegan instance", ["--images", "in", "--count", "3"], "leave --count"),
    "labels of photos": ("cyclegan instance", ["--labels", "in"], "give --images alone"),
    "seed of nothing": ("cartoongan", ["--images", "in", "--seed", "3"], "leave --seed out"),
    "style of nothing": ("cartoongan", ["--images", "in", "--style", "in/a.png"], "no style"),
    "class of photos": ("cartoongan", ["--images", "in", "--class", "1"], "no classes"),
    "truncated photos": ("cartoongan", ["--images", "in", "--truncation", "1"], "no truncation"),
    "no count": ("sngan", [], "say how many (--count 16)"),
    "photos for noise": ("sngan", ["--images", "in", "--count", "2"], "give --count N alone"),
    "size of noise": ("sngan", ["--count", "2", "--size", "64"], "makes pictures of 32 pixels"),
    "class of none": ("sngan", ["--count", "2", "--class", "1"], "no classes"),
    "photos for maps": ("gaugan", ["--images", "in"], "give --labels DIR alone"),
    "no instances": ("gaugan", ["--labels", "in"], "--instances DIR"),
    "two styles": ("munit", ["--images", "in", "--style", "in/a.png", "--seed", "1"], "only one"),
    "no encoder": ("munit separable", ["--images", "in", "--style", "in/a.png"], "--seed 0"),
    "missing folder": ("cartoongan", ["--images", "inn"], "did you mean 'in'"),
    "into the photos": ("cartoongan", ["--images", "in", "-o", "in/made"], "choose a folder"),
    "the photos": ("cartoongan", ["--images", "in", "-o", "in"], "choose a folder elsewhere"),
    "a file": ("cartoongan", ["--images", "in", "-o", "in/a.png"], "is a file: give a folder"),
    "no gpu": ("cartoongan", ["--images", "in", "--device", "cuda"], "sees no CUDA device"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_cannot_be_run_is_refused_with_what_to_do(
    case: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wiring, arguments, said = ASKED[case]
    file, _ = saved(tmp_path, wiring)
    photos(tmp_path / "in", a=(32, 32))
    monkeypatch.chdir(tmp_path)
    if case == "no gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    out = [] if "-o" in arguments else ["-o", "out"]
    told = run_cli(capsys, "run", file, *arguments, *out)
    assert told.code == 2 and said in told.err, told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"quality": 101}, "quality is 101; it must be from 1 to 100"),
        ({"device": "gpu"}, "device is 'gpu'.*cpu or cuda"),
    ],
)
def test_numbers_and_devices_that_cannot_be_are_refused_from_python_too(
    asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    source = photos(tmp_path / "in", a=(32, 32))
    with pytest.raises(ConfigError, match=said):
        ganpress.generate(
            WIRINGS["cyclegan instance"].model(), tmp_path / "out", images=source, **asked
        )
    assert not (tmp_path / "out").exists()


def test_a_spoilt_generator_writes_no_picture(tmp_path: Path) -> None:
    model = WIRINGS["cyclegan instance"].model()
    with torch.no_grad():
        model.net.out[0].weight.fill_(float("nan")) if hasattr(model.net.out, "__getitem__") else (
            next(iter(model.net.out.parameters())).fill_(float("nan"))
        )
    with pytest.raises(CheckpointError, match=r"not finite \(of a\.png\)"):
        ganpress.generate(
            model, tmp_path / "out", images=photos(tmp_path / "in", a=(32, 32)), quiet=True
        )
    assert made_in(tmp_path / "out") == []


def test_every_family_runs() -> None:
    tried = {w for w, _, _ in ASKED.values()} | {"stylegan2", "pix2pix instance"}
    assert {Wiring(WIRINGS[w].name).name for w in tried} == set(ganpress.FAMILIES)


def test_a_name_as_long_as_the_file_system_allows_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = saved(tmp_path, "cyclegan instance")
    name = "y" * 251
    told = run_cli(
        capsys,
        "run",
        model,
        "--images",
        photos(tmp_path / "a", **{name: (16, 16)}),
        "-o",
        tmp_path / "made",
    )
    assert told.code == 0, told.err
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [NAME, f"{name}.png"]


def test_a_picture_s_name_in_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = saved(tmp_path, "cyclegan instance")
    given = photos(tmp_path / "a", one=(16, 16)) / "one.png"
    told = run_cli(capsys, "run", model, "--images", given, "-o", tmp_path / "made.PNG")
    assert told.code == 2 and f"Give a folder, such as {tmp_path}/made." in told.err
    assert not (tmp_path / "made.PNG").exists()
    ran(capsys, model, "--images", given, "-o", tmp_path / "made")


def test_a_size_that_no_memory_holds_is_refused_before_a_picture_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = saved(tmp_path, "cyclegan instance")
    given = photos(tmp_path / "a", one=(16, 16))
    told = run_cli(
        capsys, "run", model, "--images", given, "-o", tmp_path / "made", "--size", "99999999"
    )
    assert told.code == 2 and "at most 178 million pixels" in told.err


def test_an_animation_is_named_with_its_number_of_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = saved(tmp_path, "cyclegan instance")
    folder = photos(tmp_path / "a", one=(16, 16))
    first, second = (Image.fromarray(noise(16, 16, seed=i)) for i in range(2))
    first.save(folder / "moves.gif", save_all=True, append_images=[second])
    first.save(folder / "still.webp")
    told = ran(capsys, model, "--images", folder, "-o", tmp_path / "made")
    assert f"1 file has several frames, of which the first is used: {folder}/moves.gif (2)" in (
        " ".join(told.err.split())
    )
