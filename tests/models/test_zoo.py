"""The zoo: how a training is put there, and that everything there is small, known and whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS
from PIL import Image
from recipes.zoo import cards
from recipes.zoo import files as recipe
from recipes.zoo.page import table
from safetensors import safe_open

from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import CheckpointError, ConfigError
from ganpress.losses.weights import fingerprint, zoo_path
from ganpress.measures.cost import measure
from ganpress.measures.fidelity import evaluate
from ganpress.measures.quality import evaluate_quality
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.checkpoint import fingerprint as weights_of
from ganpress.models.discriminator import Discriminator
from ganpress.models.discriminator_file import load_discriminator, save_discriminator
from ganpress.models.families.base import draw_inputs
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.files import read_json, write_json
from ganpress.run.recipes import recipes
from ganpress.run.settings import read_config
from ganpress.training.settings import TrainConfig
from ganpress.training.train import train
from ganpress.training.train import trainer as trained_by

ZOO = zoo_path("demo_teacher.safetensors").parent
FIELDS = {
    *("family", "options", "widths", "params", "macs", "size", "precision", "made_by", "recipe"),
    *("command", "settings", "steps", "seconds", "seed", "device", "threads", "versions", "data"),
    *("evaluation", "files", "grid"),
}


def check_teacher(zoo: Path, name: str) -> None:
    """What holds for a teacher that the recipe put into a zoo."""
    card = read_json(zoo / f"{name}.json")
    assert card.keys() >= FIELDS
    for file, facts in card["files"].items():
        path = zoo / file
        assert (path.stat().st_size, fingerprint(path)) == (facts["bytes"], facts["sha256"])
        with safe_open(path, "pt") as stored:
            assert not any(stored.get_tensor(k).dtype == torch.float32 for k in stored.keys())  # noqa: SIM118
    model = load(zoo / f"{name}.safetensors", expect=card["family"])
    options = model.family.resolve(card["options"])  # RGB where the card is from before channels
    assert (model.options, model.widths) == (options, card["widths"])
    assert sum(p.numel() for p in model.net.parameters()) == card["params"]
    made = model(*draw_inputs(model.net, 2, card["size"], torch.Generator().manual_seed(0)))
    assert made.shape == (2, 3, card["size"], card["size"]) and made.isfinite().all()
    beside = zoo / f"{name}-discriminator.safetensors"
    discriminator = load_discriminator(beside) if beside.exists() else model.discriminator
    assert (discriminator is not None) or "student" in card
    assert {"data_hash", "terms", "what", "name", "photos"} <= card["data"].keys()
    assert card["made_by"] == ("cpu recipe" if card["device"] == "cpu" else "gpu recipe")
    found = card["evaluation"]
    assert found["metrics"] and found["yardsticks"] and found["count"] > 1
    assert np.isfinite([*found["metrics"].values(), *found["yardsticks"].values()]).all()
    assert {"reference", "geometry", "features", "held out"} <= found["protocol"].keys()
    assert (zoo / card["grid"]).stat().st_size <= recipe.GRID_BYTES
    with Image.open(zoo / card["grid"]) as grid:
        assert min(grid.size) >= card["size"]


@pytest.mark.parametrize("file", sorted(ZOO.glob("*.safetensors")), ids=lambda p: p.name)
def test_every_file_of_the_zoo_is_small_and_has_a_card(file: Path) -> None:
    assert file.stat().st_size <= recipe.FILE_BYTES
    card = read_json(ZOO / f"{file.stem.removesuffix('-discriminator')}.json")
    assert {"seed", "steps", "device", "command"} <= card.keys()
    made_here = [word for word in card["command"].split() if word.startswith("recipes/")]
    config = card["recipe"]["config"] if "evaluation" in card else None
    assert all((ZOO.parent / path).exists() for path in made_here)
    if config and "student" in card:
        assert (ZOO.parent / config).exists() or config in recipes()
    elif config:  # a path when the zoo was made, "configs/train-NAME.toml"; a recipe's name today
        assert Path(config).stem.removeprefix("train-") in recipes(["train"])


def test_every_teacher_of_the_zoo_is_what_its_card_says() -> None:
    teachers = [path.stem for path in ZOO.glob("*.json") if "evaluation" in read_json(path)]
    assert teachers
    for name in teachers:
        check_teacher(ZOO, name)


def test_the_zoo_is_small_and_its_table_is_in_step() -> None:
    assert sum(path.stat().st_size for path in ZOO.iterdir()) <= recipe.ZOO_BYTES
    cards = {path.stem: json.loads(path.read_text()) for path in sorted(ZOO.glob("*.json"))}
    assert (ZOO / "README.md").read_text() == table(cards)


TINY = ["steps=2", "batch=2", "data.workers=0", "data.size=32", "data.load_size=36"]
SETS: dict[str, list[str]] = {
    "cyclegan": [
        "width=0.05",
        "options.blocks=1",
        "discriminator.width=4",
        "discriminator.layers=2",
    ],
    "stylegan2": [
        "options.size=32",
        "options.style_dim=8",
        "options.base=64",
        "discriminator.base=64",
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a finished run of each family of `SETS`."""
    home = tmp_path_factory.mktemp("zoo")
    write_folder(home / "a", 6, size=40)
    write_folder(home / "b", 5, size=40, seed=5, stylised=True)
    for name in SETS:
        other = open_images(home / "b") if name == "cyclegan" else None
        config: TrainConfig = read_config(trained_by(name).config, None, [*TINY, *SETS[name]])
        line = f"ganpress train {name} --images a --config configs/x.toml --set steps=2 --run r"
        train(name, open_images(home / "a"), run=home / name, config=config, other=other,
              command=line, quiet=True)  # fmt: skip
    return home


@pytest.mark.parametrize("name", SETS)
def test_a_finished_training_is_put_into_the_zoo(name: str, home: Path, tmp_path: Path) -> None:
    other = open_images(home / "b") if name == "cyclegan" else None
    images, way = open_images(home / "a"), "A2B" if other else ""
    how: dict[str, Any] = {"other": other, "features": "tiny"}
    files = recipe.add(home / name, "one", images, data="lfw", way=way, zoo=tmp_path, **how)
    check_teacher(tmp_path, "one")
    card = read_json(tmp_path / "one.json")
    assert {path.name for path in files} == {p.name for p in tmp_path.iterdir()}
    assert card["recipe"] == {"config": "configs/x.toml", "set": ["steps=2"]}
    assert (card["steps"], card["made_by"]) == (2, "cpu recipe")
    assert card["data"]["data_hash"] == images.digest()
    assert card["evaluation"]["protocol"]["held out"] == "no: these were trained on"
    again = evaluate_quality(load(tmp_path / "one.safetensors"), images, **how)
    assert again.metrics == pytest.approx(card["evaluation"]["metrics"])
    page = (tmp_path / "README.md").read_text()
    assert page == table({"one": card}) and f"[one]({card['grid']})" in page


def test_a_student_is_put_beside_its_teacher_with_its_distance_to_it(
    home: Path, tmp_path: Path
) -> None:
    images = open_images(home / "a")
    how: dict[str, Any] = {"data": "lfw", "zoo": tmp_path / "zoo", "other": open_images(home / "b"),
                           "features": "tiny"}  # fmt: skip
    recipe.add(home / "cyclegan", "one", images, way="A2B", **how)
    teacher = load(tmp_path / "zoo/one.safetensors")
    widths = {group: max(2, width // 2) for group, width in teacher.widths.items()}
    run = tmp_path / "run"
    shutil.copytree(home / "cyclegan", run)
    for made in run.glob("teacher*.safetensors"):
        made.unlink()
    student = Model(teacher.build(widths).eval(), teacher.family, teacher.options)
    save(student, run / recipe.STUDENT)
    write_json(run / "config.json", {"method": "slim"})
    card = read_json(run / "card.json")
    write_json(run / "card.json", card | {"teacher": "of another"})
    with pytest.raises(ConfigError, match="put it there first"):
        recipe.add(run, "small", images, **how)
    write_json(run / "card.json", card | {"teacher": weights_of(teacher.net)})
    recipe.add(run, "small", images, **how)
    check_teacher(tmp_path / "zoo", "small")
    facts = read_json(tmp_path / "zoo/small.json")["student"]
    half = load(tmp_path / "zoo/small.safetensors")
    found = evaluate(half, teacher, images, size=32, features="tiny")
    assert (facts["of"], facts["method"]) == ("one", "slim")
    assert facts["evaluation"]["metrics"] == pytest.approx(found.metrics)
    assert facts["share_of_macs"] == pytest.approx(
        measure(half.net, 32).macs / measure(teacher.net, 32).macs
    )
    page = (tmp_path / "zoo/README.md").read_text()
    assert f"student of one by slim, 1/{1 / facts['share_of_macs']:.1f} of its MACs" in page


def test_a_teacher_of_the_zoo_is_measured_anew_on_the_pictures_of_its_card(
    home: Path, tmp_path: Path
) -> None:
    images, how = open_images(home / "a"), {"zoo": tmp_path, "features": "tiny"}
    recipe.add(home / "stylegan2", "one", images, data="lfw", count=4, **how)  # type: ignore[arg-type]
    path, was = tmp_path / "one.json", read_json(tmp_path / "one.json")
    old = was | {"evaluation": was["evaluation"] | {"metrics": {}}}
    path.write_text(json.dumps(old))
    page = recipe.measure_again("one", images, count=4, **how)  # type: ignore[arg-type]
    found = read_json(path)
    assert found["evaluation"]["metrics"] == pytest.approx(was["evaluation"]["metrics"])
    assert {n: v for n, v in found.items() if n != "evaluation"} == {
        n: v for n, v in was.items() if n != "evaluation"
    }
    assert found["evaluation"]["protocol"] == was["evaluation"]["protocol"]
    assert page.read_text() == table({"one": found})
    with pytest.raises(ConfigError, match="give the same"):
        recipe.measure_again("one", open_images(home / "b"), count=4, **how)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'one'"):
        recipe.measure_again("on", images, **how)  # type: ignore[arg-type]
    assert read_json(path) == found


def test_a_command_names_files_of_the_repository_by_their_paths_in_it() -> None:
    line = "ganpress compress slim --teacher /x/tree/zoo/demo_teacher.safetensors --run '/x/a b'"
    found = cards.from_here(f"{line} --images /x/zoo/not-there --set a=1")
    assert found == (
        "ganpress compress slim --teacher zoo/demo_teacher.safetensors --run '/x/a b' "
        "--images /x/zoo/not-there --set a=1"
    )


def test_a_large_discriminator_lies_beside_its_generator(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(home / "stylegan2" / "teacher.safetensors")
    (file,) = recipe.shrunk(whole, tmp_path, "both")
    monkeypatch.setattr(recipe, "FILE_BYTES", file.stat().st_size - 1)
    files = recipe.add(home / "stylegan2", "one", open_images(home / "a"), data="lfw",
                       zoo=tmp_path / "zoo", features="tiny")  # fmt: skip
    assert [path.name for path in files[:2]] == ["one.safetensors", "one-discriminator.safetensors"]
    assert load(files[0]).discriminator is None
    check_teacher(tmp_path / "zoo", "one")


def test_what_is_too_large_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, run = open_images(home / "a"), home / "stylegan2"
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "FILE_BYTES", 1000)
        with pytest.raises(CheckpointError, match="at most 1,000: train a narrower"):
            recipe.add(run, "one", images, data="lfw", zoo=tmp_path, features="tiny")
    monkeypatch.setattr(recipe, "ZOO_BYTES", 1000)
    with pytest.raises(CheckpointError, match="The zoo would have"):
        recipe.add(run, "one", images, data="lfw", zoo=tmp_path, features="tiny")
    assert not [*tmp_path.iterdir()]


def test_an_unfinished_run_and_unknown_terms_are_refused(home: Path, tmp_path: Path) -> None:
    images = open_images(home / "a")
    with pytest.raises(ConfigError, match="did you mean 'facades'"):
        recipe.add(home / "stylegan2", "one", images, data="facade", zoo=tmp_path)
    with pytest.raises(ConfigError, match="it has A2B, B2A"):
        recipe.add(home / "cyclegan", "one", images, data="lfw", zoo=tmp_path)
    shutil.copytree(home / "stylegan2", tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(ConfigError, match="not a finished run"):
        recipe.add(tmp_path / "run", "one", images, data="lfw", zoo=tmp_path)


def test_a_grid_that_is_large_as_png_is_a_jpeg(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = WIRINGS["munit"].model(), open_images(home / "a")
    png = recipe.write_grid(model, images, tmp_path / "grid", 32)
    assert png.suffix == ".png"
    monkeypatch.setattr(recipe, "GRID_BYTES", png.stat().st_size // 2)
    jpeg = recipe.write_grid(model, images, tmp_path / "grid", 32)
    assert jpeg.suffix == ".jpg" and jpeg.stat().st_size <= recipe.GRID_BYTES
    assert not png.exists()
    monkeypatch.setattr(recipe, "GRID_BYTES", 100)
    with pytest.raises(CheckpointError, match="show fewer"):
        recipe.write_grid(model, images, tmp_path / "grid", 32)


@pytest.mark.parametrize("name", ["cyclegan instance", "gaugan", "munit", "sngan", "stylegan2"])
def test_a_discriminator_alone_comes_back(name: str, tmp_path: Path) -> None:
    discriminator, shown = WIRINGS[name].discriminator(), WIRINGS[name].shown()
    path = save_discriminator(discriminator, tmp_path / "discriminator.safetensors")
    read = load_discriminator(path)
    assert (read.kind, read.options) == (discriminator.kind, discriminator.options)
    ours, theirs = (_flat(c.net.eval()(*shown)) for c in (discriminator, read))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _flat(out: Any) -> list[torch.Tensor]:
    return [out] if isinstance(out, torch.Tensor) else [t for part in out for t in _flat(part)]


def test_a_generator_is_no_discriminator_and_no_bad_values_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: Model = WIRINGS["sngan"].model()
    file = save(model, tmp_path / "generator.safetensors")
    with pytest.raises(CheckpointError, match="not a discriminator alone"):
        load_discriminator(file)
    net = build_discriminator("patch", width=4, layers=2)
    discriminator = save_discriminator(
        Discriminator(net, "patch", {"width": 4, "layers": 2}), tmp_path / "c.safetensors"
    )
    told = run_cli(capsys, "measure", discriminator)
    assert told.code == 2 and "without its generator" in told.err
    torch.nn.init.constant_(next(net.parameters()), 1e6)
    with pytest.raises(CheckpointError, match="not finite"):
        save_discriminator(Discriminator(net, "patch", {}), tmp_path / "bad.safetensors", half=True)
