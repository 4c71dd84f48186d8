"""The ablation: variants at equal cost and time, resumed, and told from their files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from eval_inputs import label_maps
from metric_files import publish
from nets import WIRINGS
from PIL import Image
from typer.testing import CliRunner

from ganpress.cli.app import app
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, Diverged, ExportError, Interrupted
from ganpress.measures.both_costs import compare_costs
from ganpress.measures.cost import Latency
from ganpress.measures.fidelity import evaluate
from ganpress.methods import METHODS, measured
from ganpress.methods import ablate as ablation
from ganpress.methods import finish as finishing
from ganpress.methods.ablate import ablate
from ganpress.methods.ablation_folder import finished
from ganpress.methods.base import Given, Variant
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.methods.measured import Pictures, Plan
from ganpress.methods.variants import planned
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import build_discriminator
from ganpress.report.ablation import sentences, table
from ganpress.report.statements import compared, statements, summary
from ganpress.run.recipes import recipes
from ganpress.run.settings import checked, read_config

FAST = Latency(1.0, 1.0, "cpu", 1, 1, 32, 3)
VARIANTS = tuple(GAN_SLIMMING.variants)
CLAIMS = [[claim.statement, claim.better, claim.worse] for claim in GAN_SLIMMING.claims]
DISTANCE = {
    **{"gd": 4.0, "cp": 6.0, "cp+d": 3.5, "d+cp": 5.0, "gs-32": 3.0, "gs-32+postq": 4.5},
    **{"gs-8": 3.1, "gs-8-mse": 3.05, "cec": 3.3},
}
TOY: dict[str, Any] = {
    "min_channels": 1,
    "target": {"macs": 0.4},
    "data": {"size": 32, "batch": 2, "workers": 0, "cached_crops": 1},
    "distance": {"features": "tiny", "style": 0.0, "unit": 2.0, "pixel": 5.0},
    "discriminator": {"width": 4, "layers": 2, "weight": 0.1, "lr": 2e-4},
    "sparsify": {"steps": 4, "lr": 5e-4, "weight_decay": 0.0},
    "finetune": {"steps": 2, "lr": 1e-3, "weight_decay": 0.0},
}


def settings(**changes: Any) -> SlimConfig:
    values = {**TOY}
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(SlimConfig, values)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 6, seed=3, size=40))


def teacher(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    whole = full_model("cyclegan", blocks=1)
    return Model(whole.build(dict.fromkeys(whole.widths, 8)), whole.family, whole.options)


class Fake:
    """In place of `compress`: writes what a finished run holds, and notes what it was asked."""

    def __init__(self, distance: dict[str, float] | None = None) -> None:
        self.distance = distance or DISTANCE
        self.asked: list[Path] = []
        self.raises: dict[str, Exception] = {}

    def __call__(self, teacher: Model, images: Images, *, run: Path, **given: Any) -> None:
        self.asked.append(run)
        variant, seed = run.name.rsplit("-", 1)
        if variant in self.raises:
            raise self.raises[variant]
        config: SlimConfig = given["config"]
        size = 4_000 if config.quantise.bits == 32 else 1_000
        model = {"bytes": size, "macs": 10, "macs_outres": 12, "params": 1_000}
        results = {
            "model": {
                "family": "cyclegan",
                "teacher": {**model, "bytes": 40_000},
                "student": {
                    **model,
                    "file_bytes": size + 8_000,
                    "size": 32,
                    "latency_ms": {"median": 1.0},
                },
                "ratios": {"bytes": 40_000 / size, "macs": 16.0, "macs_outres": 17.0},
            },
            "evaluation": {
                "metrics": {"tiny-unit-distance": self.distance[variant] + 0.1 * int(seed)},
                "spread": {"tiny-unit-distance": 0.05},
                "protocol": {"features": "tiny"},
            },
            "stages": [
                {"name": "render", "steps": 3, "seconds": 50.0},
                {"name": "finetune", "steps": 3, "seconds": 60.0},
            ],
        }
        (run / "samples").mkdir(parents=True, exist_ok=True)
        for stem in ("00000", "00001"):
            for kind in ("photo", "teacher", "student"):
                Image.new("RGB", (32, 32), "red").save(run / "samples" / f"{stem}_{kind}.png")
        written = {
            "results": results,
            "config": {
                "method": "slim",
                **GAN_SLIMMING.resolve(Given(teacher, None), config).model_dump(),
            },
            "card": {"device": "cpu", "torch": "2", "data_hash": images.digest()},
            "done": {},
        }
        for name, content in written.items():
            (run / f"{name}.json").write_text(json.dumps(content))


def with_discriminator(model: Model) -> Model:
    net = build_discriminator("patch", width=4, layers=2)
    return replace(model, discriminator=Discriminator(net, "patch", {"width": 4, "layers": 2}))


def run_all(
    run: Path, photos: Images, fake: Fake, reals: Images | None = None, **given: Any
) -> dict[str, Any]:
    config = given.pop("config", settings())
    whole, pictures = with_discriminator(teacher()), Pictures(photos, reals=reals)
    return ablate(whole, pictures, run=run, config=config, quiet=True, compress=fake, **given)


def plans_of(config: SlimConfig, variants: list[str], seeds: list[int], run: Path) -> list[Plan]:
    """What is to be run, for a generator whose images do not matter to its plan."""
    given = Given(with_discriminator(teacher()), drawn(run / "drawn"))
    plans, refused = planned(GAN_SLIMMING, given, config, variants, seeds, run)
    assert not refused
    return plans


def drawn(folder: Path) -> Images:
    return open_images(write_folder(folder, 2, seed=3, size=40))


def test_every_variant_trains_for_the_same_minutes() -> None:
    base = settings(sparsify={"minutes": 2.0}, finetune={"minutes": 3.5})
    own = {name: GAN_SLIMMING.settings_of(name, base) for name in VARIANTS}
    minutes = {name: GAN_SLIMMING.training_minutes(one) for name, one in own.items()}
    assert minutes == dict.fromkeys(VARIANTS, 5.5)
    assert GAN_SLIMMING.stage_minutes(own["gd"]) == {"finetune": 5.5}
    assert GAN_SLIMMING.stage_minutes(own["cp"]) == {"sparsify": 2.0, "finetune": 3.5}
    assert GAN_SLIMMING.stage_minutes(own["d+cp"]) == {
        "distil": 1.75,
        "sparsify": 2.0,
        "finetune": 1.75,
    }


def test_the_variants_of_8_bits_have_as_many_as_the_shared_settings_say() -> None:
    few = settings(quantise={"bits": 4})
    bits, usual = (
        {name: GAN_SLIMMING.settings_of(name, one).quantise.bits for name in VARIANTS}
        for one in (few, settings())
    )
    eight = {name for name in VARIANTS if usual[name] == 8}
    assert eight == {"gs-32+postq", "gs-8", "gs-8-mse"}
    assert bits == {name: 4 if name in eight else 32 for name in VARIANTS}


def test_a_width_ratio_is_that_of_the_first_student_of_d_then_cp_and_never_gds() -> None:
    shared = settings(width_ratio=0.3)
    ratios = {name: GAN_SLIMMING.settings_of(name, shared).width_ratio for name in ("gd", "d+cp")}
    assert ratios == {"gd": None, "d+cp": 0.3}


def test_a_variant_changes_its_own_settings_and_leaves_the_others_of_their_group() -> None:
    shared = settings(distance={"pixel": 7.0}, discriminator={"fixed": True}, quantise={"p": 2.5})
    mse, cec = (GAN_SLIMMING.settings_of(name, shared) for name in ("gs-8-mse", "cec"))
    assert (mse.distance.kind, mse.distance.pixel) == ("mse", 7.0)
    assert (mse.quantise.bits, mse.quantise.p, mse.discriminator.fixed) == (8, 2.5, False)
    assert (cec.distance, cec.discriminator.width) == (shared.distance, 4)
    assert (cec.discriminator.fixed, cec.discriminator.start) == (True, "teacher")


def test_minutes_of_one_stage_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Give sparsify\.minutes and finetune\.minutes, or none"):
        GAN_SLIMMING.training_minutes(settings(sparsify={"minutes": 2.0}))
    assert GAN_SLIMMING.training_minutes(settings()) is None


def test_a_variant_that_would_train_longer_than_the_others_is_refused(tmp_path: Path) -> None:
    longer = Variant(meaning="more of it", overrides={"finetune": {"minutes": 9.0}})
    method = replace(GAN_SLIMMING, variants={**GAN_SLIMMING.variants, "longer": longer})
    base = settings(sparsify={"minutes": 2.0}, finetune={"minutes": 3.5})
    given = Given(teacher(), drawn(tmp_path / "drawn"))
    with pytest.raises(ConfigError, match=r"'longer' would train 11\.0 minutes, the others 5\.5"):
        planned(method, given, base, ["gs-32", "longer"], [0], tmp_path)


def test_variants_share_target_and_cache_and_are_run_seed_by_seed(tmp_path: Path) -> None:
    plans = plans_of(settings(), ["gs-32", "gd"], [0, 2], tmp_path)
    assert [p.folder.name for p in plans] == ["gs-32-0", "gd-0", "gs-32-2", "gd-2"]
    assert {p.settings.data.teacher_cache for p in plans} == {str(tmp_path / "teacher-cache")}
    assert {p.settings.target.chosen for p in plans} == {("macs", 0.4)}
    assert [p.settings.seed for p in plans] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("variants", "seeds", "config", "told"),
    [
        (["gs-31"], [0], settings(), "did you mean 'gs-32'"),
        (["gd"], [-1], settings(), "seeds are 0 or more"),
        (["gd"], [], settings(), "at least one variant and one seed"),
        (["gd"], [0], settings(target={"macs": None}), "at one cost"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_training(
    variants: list[str],
    seeds: list[int],
    config: SlimConfig,
    told: str,
    photos: Images,
    tmp_path: Path,
) -> None:
    fake = Fake()
    given: dict[str, Any] = {"variants": variants, "seeds": seeds, "config": config}
    with pytest.raises(ConfigError, match=told):
        run_all(tmp_path / "run", photos, fake, **given)
    assert not fake.asked and not (tmp_path / "run").exists()


def test_all_nine_variants_are_run_and_told(photos: Images, tmp_path: Path) -> None:
    fake = Fake()
    found = run_all(tmp_path, photos, fake)
    assert [p.name for p in fake.asked] == [f"{name}-0" for name in VARIANTS]
    assert [row["variant"] for row in found["variants"]] == list(VARIANTS) and not found["missing"]
    assert json.loads((tmp_path / "ablation.json").read_text()) == found
    text = (tmp_path / "ablation.md").read_text()
    assert "GS-32 better than GD, by tiny-unit-distance: **holds** (difference +1, +14.1" in text
    assert "perceptual better than MSE, by tiny-unit-distance: **does not hold**" in text
    assert "(standard error over test pictures, one seed; 'clear' from 2.0 units)" in text
    assert "Every variant: at most 0.4 of the teacher's macs" in text and "costs differ" not in text
    assert "too close to be sure" in text and "1 min of training" not in text
    heads, rows = table(found)
    assert len(rows) == 9 and {row[heads.index("trained")] for row in rows} == {"1\u00a0min"}
    gs8 = dict(zip(heads, next(row for row in rows if row[0].startswith("gs-8 ")), strict=True))
    assert (gs8["size"], gs8["1/size"], gs8["file"]) == ("1\u00a0kB", "40", "9\u00a0kB")


def test_a_finished_variant_is_not_run_again_and_variants_can_be_added(
    photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    run_all(tmp_path, photos, fake, variants=["gs-32", "gd"])
    run_all(tmp_path, photos, fake, variants=["gs-32"], seeds=[0, 1, 2])
    assert [p.name for p in fake.asked] == ["gs-32-0", "gd-0", "gs-32-1", "gs-32-2"]
    found = run_all(tmp_path, photos, fake, variants=["gd"])
    assert len(fake.asked) == 4
    number = {a["variant"]: a for a in found["variants"]}["gs-32"]["numbers"]["tiny-unit-distance"]
    assert number["mean"] == pytest.approx(3.1) and number["spread"] == pytest.approx(0.1)
    assert number["values"] == pytest.approx([3.0, 3.1, 3.2])
    assert "3.1 ± 0.1" in (tmp_path / "ablation.md").read_text()


def test_an_interrupted_ablation_goes_on_where_it_stopped(photos: Images, tmp_path: Path) -> None:
    fake = Fake()
    fake.raises["gd"] = Interrupted("stopped", exit_code=130)
    with pytest.raises(Interrupted):
        run_all(tmp_path, photos, fake, variants=["gs-32", "gd"])
    assert summary(tmp_path)["variants"][0]["variant"] == "gs-32"
    fake.raises.clear()
    run_all(tmp_path, photos, fake, variants=["gs-32", "gd"])
    assert [p.name for p in fake.asked] == ["gs-32-0", "gd-0", "gd-0"]


def test_a_variant_that_diverges_is_told_and_the_others_are_run(
    photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    fake.raises["cp"] = Diverged("Training diverged: loss is nan")
    found = run_all(tmp_path, photos, fake, variants=["cp", "gs-32"])
    assert [a["variant"] for a in found["variants"]] == ["gs-32"]
    assert found["failed"] == [
        {"variant": "cp", "seed": 0, "error": "Training diverged: loss is nan"}
    ]
    assert "cp, seed 0, failed" in (tmp_path / "ablation.md").read_text()
    fake.raises.clear()
    assert not run_all(tmp_path, photos, fake, variants=["cp"])["failed"]
    assert len(sentences(found)) == 7


def test_a_fixed_discriminator_that_the_teacher_lacks_is_told_and_the_others_are_run(
    photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    given: dict[str, Any] = {"run": tmp_path, "config": settings(), "quiet": True}
    given |= {"variants": ["cec", "gs-32"], "compress": fake}
    found = ablate(teacher(), Pictures(photos), **given)
    assert [p.name for p in fake.asked] == ["gs-32-0"]
    assert [(f["variant"], f["seed"]) for f in found["failed"]] == [("cec", 0)]
    said = found["failed"][0]["error"]
    assert "import or train the teacher with it (import --discriminator)" in said


def test_settings_that_one_variant_cannot_have_are_told_and_the_others_are_run(
    photos: Images, tmp_path: Path
) -> None:
    fake, silent = Fake(), settings(discriminator={"weight": 0.0})
    given: dict[str, Any] = {"variants": ["gs-32", "cp", "gd"], "config": silent}
    found = run_all(tmp_path, photos, fake, **given)
    assert [p.name for p in fake.asked] == ["gs-32-0", "gd-0"]
    assert [(f["variant"], f["seed"]) for f in found["failed"]] == [("cp", 0)]
    assert "no loss to train with" in found["failed"][0]["error"]
    assert run_all(tmp_path, photos, fake, **given) == found and len(fake.asked) == 2


def test_a_target_that_one_variant_cannot_reach_is_told_and_the_others_are_run(
    photos: Images, tmp_path: Path
) -> None:
    fake, kept = Fake(), settings(trunk="keep", target={"macs": 0.11})
    found = run_all(tmp_path, photos, fake, variants=["gd", "gs-32", "gs-8"], config=kept)
    assert [p.name for p in fake.asked] == ["gd-0"]
    assert [f["variant"] for f in found["failed"]] == ["gs-32", "gs-8"]
    assert "trunk kept the smallest network" in found["failed"][0]["error"]


def test_a_teachers_discriminator_that_cannot_judge_the_crops_stops_only_the_variant_that_needs_it(
    photos: Images, tmp_path: Path
) -> None:
    deep = build_discriminator("patch", width=4, layers=6)
    whole = replace(
        teacher(), discriminator=Discriminator(deep, "patch", {"width": 4, "layers": 6})
    )
    fake, fresh = Fake(), settings(discriminator={"start": "fresh"})
    given: dict[str, Any] = {"run": tmp_path, "config": fresh, "compress": fake, "quiet": True}
    found = ablate(whole, Pictures(photos), variants=["cec", "gs-32"], **given)
    assert [p.name for p in fake.asked] == ["gs-32-0"]
    assert "cannot read pictures of 32 pixels" in found["failed"][0]["error"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (settings(discriminator={"real": "images"}), "needs real pictures of the target domain"),
        (
            settings(target={"macs": 1e-6}),
            r"No variant .*\n  gs-32, gs-8: target.*smallest network",
        ),
    ],
)
def test_what_stops_every_variant_is_refused_before_any_training(
    config: SlimConfig, told: str, photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    with pytest.raises(ConfigError, match=told):
        run_all(tmp_path / "run", photos, fake, variants=["gs-32", "gs-8"], config=config)
    assert not fake.asked and not (tmp_path / "run").exists()


def test_test_pictures_that_the_generator_cannot_read_are_refused_before_any_training(
    photos: Images, tmp_path: Path
) -> None:
    fake, maps = Fake(), label_maps(tmp_path)
    given: dict[str, Any] = {"config": settings(), "variants": ["gd"], "compress": fake}
    pictures = Pictures(maps, photos)
    with pytest.raises(ConfigError, match="reads label maps"):
        ablate(WIRINGS["gaugan"].model(0), pictures, run=tmp_path / "run", **given)
    assert not fake.asked and not (tmp_path / "run").exists()


def test_an_unfinished_variant_of_other_settings_is_refused_before_the_others_are_run(
    photos: Images, tmp_path: Path
) -> None:
    fake, (plan,) = Fake(), plans_of(settings(), ["gd"], [0], tmp_path)
    plan.folder.mkdir()
    was = {"method": "slim", **plan.resolved.model_dump(), "width_ratio": 0.5}
    (plan.folder / "config.json").write_text(json.dumps(was))
    with pytest.raises(ConfigError, match=r"width_ratio: 0\.5 in the run, null now"):
        run_all(tmp_path, photos, fake, variants=["gs-32", "gd"])
    assert not fake.asked


def test_other_real_pictures_are_refused_but_not_where_the_folder_is_older_than_that(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "can_evaluate", lambda *_: False)
    fake, other = Fake(), open_images(write_folder(tmp_path / "other", 2, seed=9, size=40))
    run_all(run := tmp_path / "run", photos, fake, variants=["gd"], reals=photos)
    for reals in (other, None):
        with pytest.raises(ConfigError, match=r"reals_hash: .* in the run, .* now"):
            run_all(run, photos, fake, variants=["gd"], reals=reals)
    path = run / "settings.json"
    for reals in (None, other):
        old = json.loads(path.read_text())
        del old["reals_hash"]
        path.write_text(json.dumps(old))
        run_all(run, photos, fake, variants=["gd"], reals=reals)
    assert json.loads(path.read_text())["reals_hash"] == other.digest()


def test_a_setting_that_is_newer_than_the_run_had_its_default_there(
    photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    run_all(tmp_path, photos, fake, variants=["gs-32"])
    for name, keys in (("settings.json", ["settings"]), ("gs-32-0/config.json", [])):
        path = tmp_path / name
        said = json.loads(path.read_text())
        inner = said[keys[0]] if keys else said
        del inner["channels_last"], inner["quantise"]["exact"]
        path.write_text(json.dumps(said))
    run_all(tmp_path, photos, fake, variants=["gs-32"], seeds=[0, 1])
    assert [p.name for p in fake.asked] == ["gs-32-0", "gs-32-1"]
    with pytest.raises(ConfigError, match="channels_last: false in the run, true now"):
        run_all(tmp_path, photos, fake, config=settings(channels_last=True), variants=["gs-32"])


def test_a_variant_that_is_newer_than_the_folder_can_be_added_to_it(
    photos: Images, tmp_path: Path
) -> None:
    fake, path = Fake(), tmp_path / "settings.json"
    run_all(tmp_path, photos, fake, variants=["gd"])
    said = json.loads(path.read_text())
    del said["stage_minutes"]["gs-32"]
    path.write_text(json.dumps(said))
    run_all(tmp_path, photos, fake, variants=["gs-32"])
    assert [p.name for p in fake.asked] == ["gd-0", "gs-32-0"]
    said["stage_minutes"]["gd"] = {"finetune": 99.0}
    path.write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=r"stage_minutes\.gd"):
        run_all(tmp_path, photos, fake, variants=["gs-32"])


def test_another_teacher_or_other_settings_are_refused(photos: Images, tmp_path: Path) -> None:
    fake = Fake()
    run_all(tmp_path, photos, fake, variants=["gd"])
    with pytest.raises(ConfigError, match=r"settings.beta: 20.0 in the run, 3.0 now"):
        run_all(tmp_path, photos, fake, variants=["gd"], config=settings(beta=3.0))
    with pytest.raises(ConfigError, match="teacher"):
        ablate(
            teacher(1), Pictures(photos), run=tmp_path, config=settings(), compress=fake, quiet=True
        )


def test_a_mask_is_known_again_by_its_file_wherever_that_lies(
    photos: Images, tmp_path: Path
) -> None:
    fake, run = Fake(), tmp_path / "run"
    places = [tmp_path / name / "boxes.toml" for name in ("here", "there")]
    for place in places:
        place.parent.mkdir()
        place.write_text("boxes = [[0.0, 0.0, 0.5, 0.5]]\n")
        config = settings(mask={"source": str(place)})
        run_all(run, photos, fake, variants=["gd"], config=config)
    assert [p.name for p in fake.asked] == ["gd-0"]
    said = json.loads((run / "settings.json").read_text())
    digest, said["settings"]["mask"]["digest"] = said["settings"]["mask"]["digest"], None
    (run / "settings.json").write_text(json.dumps(said))  # as an older version wrote it
    with pytest.raises(ConfigError, match=r"settings\.mask\.source"):
        run_all(
            run, photos, fake, variants=["gd"], config=settings(mask={"source": str(places[0])})
        )
    run_all(run, photos, fake, variants=["gd"], config=config)
    said = json.loads((run / "settings.json").read_text())
    assert said["settings"]["mask"]["digest"] == digest and len(digest) == 64
    places[1].write_text("boxes = [[0.0, 0.0, 0.9, 0.5]]\n")
    with pytest.raises(ConfigError, match=r"settings\.mask\.digest"):
        run_all(run, photos, fake, variants=["gd"], config=config)


def test_finished_variants_are_measured_by_further_metrics_without_training(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run of a variant, then the same call with one argument more."""
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: FAST)
    monkeypatch.setattr(finishing, "export", no_export)
    publish(monkeypatch, tmp_path / "weights", "efficientnet-lite0", "st-lpips-alex")
    reals = open_images(write_folder(tmp_path / "reals", 3, seed=8, size=40))
    pictures, run = Pictures(photos.some([0, 1, 2]), reals=reals), tmp_path / "run"
    how = {"run": run, "config": settings(sparsify={"steps": 1}), "variants": ["gd"]}

    first = ablate(with_discriminator(teacher()), pictures, quiet=True, **how)
    assert "Against real pictures" in (run / "gd-0" / "report.html").read_text()
    before = {path: path.read_bytes() for path in run.glob("*/student.safetensors")}
    further = {**how, "metrics": ["efficientnet-lite0", "st-lpips-alex"], "quiet": True}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished variant was run again")

    found = ablate(with_discriminator(teacher()), pictures, compress=never, **further)
    assert {path: path.read_bytes() for path in before} == before
    for old, new in zip(first["variants"], found["variants"], strict=True):
        added = new["numbers"].keys() - old["numbers"].keys()
        assert added == {
            "st-lpips-alex",
            "real/st-lpips-alex-to-photo",
            "real/frechet-efficientnet-lite0",
            "real/kernel-efficientnet-lite0",
        }
        assert {name: new["numbers"][name] for name in old["numbers"]} == old["numbers"]
    assert "frechet-efficientnet-lite0" in found["judged_teacher"]
    assert {s["metric"] for s in found["statements"]} >= {
        "st-lpips-alex",
        "real/frechet-efficientnet-lite0",
    }
    student = load(run / "gd-0" / "student.safetensors")
    alone = evaluate(
        student, teacher(), pictures.images, size=32, features="tiny", metrics=["st-lpips-alex"]
    )
    [gd] = [row for row in found["variants"] if row["variant"] == "gd"]
    assert gd["numbers"]["st-lpips-alex"]["mean"] == pytest.approx(alone.metrics["st-lpips-alex"])
    stamps = {path: path.stat().st_mtime_ns for path in run.glob("*/judged-student.json")}
    ablate(with_discriminator(teacher()), pictures, compress=never, **further)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_metrics_that_an_ablation_cannot_have_are_refused_before_any_training(
    photos: Images, tmp_path: Path
) -> None:
    fake = Fake()
    for name, message in (
        ("efficientnet", "did you mean 'efficientnet-lite0'"),
        ("auto", "name the metrics"),
        ("efficientnet-lite0", "compares with real pictures: give some"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_all(tmp_path / "run", photos, fake, metrics=[name])
    assert not fake.asked


def test_progress_says_how_many_variants_and_how_much_time_are_left(
    photos: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = settings(sparsify={"minutes": 2.0}, finetune={"minutes": 3.0})
    given: dict[str, Any] = {"config": timed, "variants": ["gd", "cp"], "compress": Fake()}
    ablate(teacher(), Pictures(photos), run=tmp_path, **given)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "ablation: 1 of 2, gd seed 0; at least 10 min of training left"
    assert re.fullmatch(r"ablation: 2 of 2, cp seed 0; .* gone, about .* left", second)


def row(mean: float, spread: float | None, seeds: int, name: str = "m") -> dict[str, Any]:
    return {
        "seeds": list(range(seeds)),
        "numbers": {name: {"mean": mean, "spread": spread}},
        "over_images": {name: 0.3},
    }


def test_a_difference_is_told_in_standard_errors_over_seeds() -> None:
    said = compared(row(1.0, 0.3, 9), row(1.7, 0.4, 4), "m")
    assert said["verdict"] == "holds" and said["clear"]
    assert said["units"] == pytest.approx(0.7 / (0.1**2 + 0.2**2) ** 0.5)
    one = compared(row(1.5, None, 1), row(1.0, 0.4, 4), "m")
    assert one["verdict"] == "does not hold" and not one["clear"]
    assert one["units"] == pytest.approx(-0.5 / (2 * 0.3**2) ** 0.5)
    assert "one seed" in one["unit"] and one["threshold"] == pytest.approx(1.96, abs=1e-3)


def test_of_few_seeds_a_difference_must_be_larger_to_be_clear() -> None:
    for seeds, least in ((2, 4.303), (3, 2.776), (6, 2.228)):
        for units, clear in ((least - 0.01, False), (least + 0.01, True)):
            far = units * (2 * 0.1**2 / seeds) ** 0.5
            said = compared(row(1.0, 0.1, seeds), row(1.0 + far, 0.1, seeds), "m")
            assert said["units"] == pytest.approx(units) and said["clear"] is clear
            assert said["threshold"] == pytest.approx(least, abs=1e-3)
    assert "'clear' from 2.2 units)" in line_of(said) and "too close" not in line_of(said)


def line_of(said: dict[str, Any]) -> str:
    head = {"statement": "A better than B", "better": "a", "worse": "b", "metric": "m"}
    (line,) = sentences({"statements": [head | said], "metric": "m"})
    return line


def test_two_variants_without_any_spread_are_not_called_unknown() -> None:
    said = compared(row(1.0, 0.0, 2), row(1.5, 0.0, 3), "m")
    assert said["clear"] and said["units"] is None
    assert line_of(said).endswith("(difference +0.5, without any spread over seeds)")
    same = compared(row(1.0, 0.0, 2), row(1.0, 0.0, 3), "m")
    assert not same["clear"] and "too close to be sure" in line_of(same)
    one = {**row(1.0, None, 1), "over_images": {"m": 0.0}}  # a single picture has none, either
    assert not compared(one, {**one, "numbers": {"m": {"mean": 2.0}}}, "m")["clear"]
    unknown = compared({**one, "over_images": {}}, one, "m")
    assert "the spread is not known" in line_of(unknown)


def test_variants_of_unlike_cost_are_told_with_the_statement() -> None:
    def priced(macs: float) -> dict[str, Any]:
        one = row(1.0, 0.1, 3)
        one["numbers"]["ratio/macs"] = {"mean": macs, "spread": 0.0}
        return one

    said = compared(priced(16.0), priced(17.7), "m", "macs")
    assert line_of(said).endswith("; costs differ: 1/16.0 against 1/17.7)")
    assert compared(priced(16.7), priced(16.0), "m", "macs")["costs"] is None
    assert compared(priced(16.0), priced(17.7), "m", "bytes")["costs"] is None
    rows = [{**priced(9.0), "variant": "gs-32"}, {**priced(4.0), "variant": "gd"}]
    assert statements(rows, ["m"], CLAIMS, "macs")[0]["costs"] == (9.0, 4.0)


def test_statements_of_before_are_still_told() -> None:
    old = {"verdict": "holds", "difference": 1.0, "units": 2.5, "unit": "standard error over seeds"}
    assert "+2.5 units of spread (standard error over seeds))" in line_of({**old, "clear": True})


@pytest.mark.parametrize("name", ["real/is-resnet56", "real/miou-facades", "accuracy-net@1a2b3c4d"])
def test_of_a_score_the_larger_is_better(name: str) -> None:
    said = compared(row(8.0, 0.1, 3, name), row(7.0, 0.1, 3, name), name)
    assert said["verdict"] == "holds" and said["difference"] == 1.0


def test_equal_numbers_do_not_make_a_statement_hold() -> None:
    assert compared(row(1.0, 0.1, 3), row(1.0, 0.1, 3), "m")["verdict"] == "does not hold"


def test_a_statement_about_a_variant_that_was_not_run_says_so() -> None:
    said = statements([{**row(1.0, 0.1, 3), "variant": "gs-32"}], ["m"], CLAIMS)
    assert len(said) == 7 and {s["verdict"] for s in said} == {"not run"}
    assert "**not run** (gs-32 against gd)" in sentences({"statements": said, "metric": "m"})[0]


def test_figures_show_one_point_and_one_row_a_variant(photos: Images, tmp_path: Path) -> None:
    run_all(tmp_path, photos, Fake())
    found = json.loads((tmp_path / "ablation.json").read_text())
    assert found["paper"].startswith("GAN Slimming") and set(found["meanings"]) == set(VARIANTS)
    svg = ElementTree.parse(tmp_path / "fig3.svg").getroot()
    groups = {g.get("id"): g for g in svg.iter("{http://www.w3.org/2000/svg}g")}

    def height(group: str, kind: str) -> float:
        (found,) = groups[group].iter("{http://www.w3.org/2000/svg}" + kind)
        return float(found.get("y", "nan"))

    points = {variant: height(f"variant {variant}", "use") for variant in VARIANTS}
    assert sorted(points, key=points.__getitem__, reverse=True) == sorted(
        VARIANTS, key=lambda a: DISTANCE[a]
    )
    named = {variant: height(f"name {variant}", "text") for variant in VARIANTS}
    assert sorted(points, key=points.__getitem__) == sorted(named, key=named.__getitem__)
    best = max(points, key=points.__getitem__)
    assert named[best] == pytest.approx(points[best], abs=8)  # nothing is in its way
    names = sorted(named.values())
    assert min(b - a for a, b in pairwise(names)) >= 16.9
    assert names[0] > 0 and names[-1] < 420
    with Image.open(tmp_path / "fig4.png") as grid:
        assert grid.height == 11 * 100 and grid.width == 132 + 2 * 100
    page = (tmp_path / "ablation.html").read_text()
    assert "<svg" in page and "data:image/png;base64," in page and "http://" not in page


def no_export(*_: object, **__: object) -> None:
    raise ExportError("left out by the test")


def test_post_quantisation_takes_over_the_training_of_gs_32(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "compare_costs", partial(compare_costs, quick=True))
    monkeypatch.setattr(finishing, "export", no_export)
    students = {}
    for name, variants in (("both", ["gs-32", "gs-32+postq"]), ("alone", ["gs-32+postq"])):
        given: dict[str, Any] = {"config": settings(), "variants": variants, "quiet": True}
        found = ablate(teacher(), Pictures(photos), run=tmp_path / name, **given)
        students[name] = load(tmp_path / name / "gs-32+postq-0" / "student.safetensors")
        assert found["variants"][-1]["bits"] == 8 and not found["failed"]
    both, alone = (students[name].net for name in ("both", "alone"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(both.state_dict().values(), alone.state_dict().values(), strict=True)
    )
    log = "gs-32{}-0/finetune/log.jsonl"  # holds the time of each step: nobody trained twice
    first, second = (tmp_path / "both" / log.format(which) for which in ("", "+postq"))
    assert first.read_bytes() == second.read_bytes()


def test_two_variants_in_earnest(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "compare_costs", partial(compare_costs, quick=True))
    monkeypatch.setattr(finishing, "export", no_export)
    given: dict[str, Any] = {
        "run": tmp_path,
        "config": settings(discriminator={"real": "images"}),
        "variants": ["gd", "gs-8"],
        "quiet": True,
    }
    pictures = Pictures(photos, photos, photos)
    found = ablate(teacher(), pictures, **given)
    gd, gs = found["variants"]
    for one in (gd, gs):
        numbers = one["numbers"]
        assert numbers["ratio/macs"]["mean"] >= 2.49
        assert numbers[found["metric"]]["mean"] > 0
        assert any(name.startswith("real/frechet-") for name in numbers)
    assert gs["numbers"]["bytes"]["mean"] < gd["numbers"]["bytes"]["mean"] / 2
    assert not found["failed"] and found["missing"]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/results.json")}
    assert ablate(teacher(), pictures, **given)["variants"] == found["variants"]
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/results.json")}
    assert (tmp_path / "teacher-cache").is_dir()
    asked = Given(teacher(), photos, photos)
    (plan,), _ = planned(GAN_SLIMMING, asked, given["config"], ["gd"], [0], tmp_path)
    assert finished(plan, GAN_SLIMMING)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("gaugan", ["photo", "student", "teacher"]), ("sngan", ["student", "teacher"])],
)
def test_samples_are_made_from_what_the_generator_reads(
    name: str, kinds: list[str], photos: Images, tmp_path: Path
) -> None:
    model, twin = (WIRINGS[name].model(0) for _ in range(2))
    read = label_maps(tmp_path) if name == "gaugan" else photos
    shown = finishing.Shown.of(model, read, None, match_colours=False)
    finishing.write_samples(tmp_path / "samples", twin, model, shown, 32)
    files = sorted((tmp_path / "samples").glob("00000_*.png"))
    assert [p.stem.removeprefix("00000_") for p in files] == kinds
    assert files[-2].read_bytes() == files[-1].read_bytes()


def test_the_command_hands_variants_seeds_and_images_on(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "photos", 4, size=40)
    save(teacher(), tmp_path / "t.safetensors")
    fake = Fake()
    monkeypatch.setattr(ablation, "ablate", partial(ablate, compress=fake, quiet=True))
    config = tmp_path / "c.toml"
    config.write_text("min_channels = 1\n[target]\nmacs = 0.4\n[data]\nsize = 32\n")
    command = [
        "ablate",
        "slim",
        "-t",
        tmp_path / "t.safetensors",
        "--images",
        folder,
        "--config",
        config,
    ]
    command += ["--run", tmp_path / "run", "--variants", "gs-32, gd", "--set", "beta=3"]
    done = CliRunner().invoke(app, [*map(str, command), "--seeds", "0,1"])
    assert done.exit_code == 0, done.output
    assert [p.name for p in fake.asked] == ["gs-32-0", "gd-0", "gs-32-1", "gd-1"]
    assert "GS-32 better than GD, by tiny-unit-distance: holds" in done.output
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]["beta"] == 3
    (tmp_path / "run" / "ablation.html").unlink()
    again = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert again.exit_code == 0 and (tmp_path / "run" / "ablation.html").exists()
    paper = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--layout", "paper"])
    assert "published, not measured here" in paper.output
    assert (tmp_path / "run" / "paper.md").read_text() in paper.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--seeds", "one"], "whole numbers"), (["--layout", "papr"], "did you mean 'paper'")],
)
def test_what_cannot_be_read_on_the_command_line_is_told(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "photos", 2, size=40)
    save(teacher(), tmp_path / "t.safetensors")
    given = ["-t", tmp_path / "t.safetensors", "--images", folder, "--run", tmp_path / "run"]
    verb = (
        ["ablate", "slim", *map(str, given)]
        if "--seeds" in arguments
        else ["report", str(tmp_path)]
    )
    done = CliRunner().invoke(app, [*verb, *arguments])
    assert isinstance(done.exception, ConfigError) and told in str(done.exception)


@pytest.mark.parametrize("file", recipes(["ablate"]).values(), ids=lambda p: p.name)
def test_every_recipe_of_an_ablation_is_valid(file: Path) -> None:
    named = [name for name in METHODS if f"ganpress ablate {name} " in file.read_text()]
    method = METHODS[named[0] if named else "slim"]
    base = read_config(method.settings, file)
    minutes = method.training_minutes(base)
    for name in method.variants:
        own = method.settings_of(name, base)
        assert method.training_minutes(own) == pytest.approx(minutes)
        assert own.target.macs
        assert method is not GAN_SLIMMING or resolve(own).target.macs
    if file.stem in ("hayao-cpu", "facades-cpu"):
        assert base.target.macs is not None and base.target.macs <= 1 / 16
        assert minutes == pytest.approx(5.0)
    assert (minutes is None) == file.stem.endswith("-gpu")
