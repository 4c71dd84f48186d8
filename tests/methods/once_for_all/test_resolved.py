"""What a request comes to: the authors' values by family, the budget, the split of the time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import WIRINGS
from PIL import Image

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.measures.cost import measure
from ganpress.methods.base import Given
from ganpress.methods.once_for_all import ONCE_FOR_ALL, OnceForAllConfig
from ganpress.methods.once_for_all.holdout import hold_out
from ganpress.methods.once_for_all.requests import budget_of, fixed_widths, resolve
from ganpress.methods.once_for_all.tasks import TASKS
from ganpress.run.run import Run
from ganpress.run.settings import checked

SMALL: dict[str, Any] = {"min_channels": 2, "channel_multiple": 1, "search": {"images": 2}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resolved")
    for stem in (path.stem for path in write_folder(root / "x", 6, size=40).iterdir()):
        (root / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "labels" / f"{stem}.png")
    write_folder(root / "y", 6, size=40, seed=5)
    return root


def resolved(given: Given, **settings: Any) -> OnceForAllConfig:
    found = ONCE_FOR_ALL.resolve(given, checked(OnceForAllConfig, {**SMALL, **settings}))
    assert isinstance(found, OnceForAllConfig)
    return found


def weights(c: OnceForAllConfig) -> tuple[float | None, ...]:
    d = c.distil
    return (d.reconstruction, d.taps_weight, d.matching, d.perceptual, d.style)


def rates(c: OnceForAllConfig) -> tuple[Any, ...]:
    s = c.supernet
    return (s.lr, c.discriminator.lr, s.betas, s.weight_decay)


def test_unpaired_photos_have_pseudo_pairs_and_the_teachers_pictures_as_real(home: Path) -> None:
    teacher, photos = WIRINGS["cyclegan instance"].model(), open_images(home / "x")
    alone = resolved(Given(teacher, photos))
    assert weights(alone) == (10.0, 0.01, 0.0, 0.0, 0.0)
    assert rates(alone) == (2e-4, 2e-4, (0.5, 0.999), 0.0)
    assert (alone.discriminator.real, alone.discriminator.start) == ("teacher", "fresh")
    with_reals = resolved(Given(teacher, photos, open_images(home / "y")))
    assert (weights(with_reals), with_reals.discriminator.real) == (weights(alone), "images")


def test_pairs_have_the_truth(home: Path) -> None:
    teacher = WIRINGS["pix2pix"].model()
    c = resolved(Given(teacher, open_images(home / "x", pairs=home / "y")))
    assert weights(c) == (100.0, 1.0, 0.0, 0.0, 0.0)
    assert c.discriminator.real == "images"


def test_label_maps_have_spades_terms_and_photos_as_real(home: Path) -> None:
    teacher = WIRINGS["gaugan"].model()
    c = resolved(Given(teacher, open_images(home / "x", labels=home / "labels")))
    assert weights(c) == (0.0, 10.0, 10.0, 10.0, 0.0)
    assert rates(c) == (1e-4, 4e-4, (0.0, 0.9), 0.0)
    assert (c.discriminator.real, c.student.wiring) == ("images", "separable")
    assert c.distil.taps == ("head_0", "G_middle_1", "up_1")


def test_munit_distils_its_content_code(home: Path) -> None:
    teacher = WIRINGS["munit"].model()
    c = resolved(Given(teacher, open_images(home / "x")))
    assert weights(c) == (10.0, 1.0, 0.0, 0.0, 1.0)
    assert rates(c) == (1e-4, 1e-4, (0.5, 0.999), 1e-4)
    assert (c.distil.taps, TASKS["munit"].distance) == (("content",), "l1")
    assert {task.distance for name, task in TASKS.items() if name != "munit"} == {"mse"}


def test_omgd_has_no_discriminator_and_dcd_goes_through_it(home: Path) -> None:
    given = Given(WIRINGS["cyclegan instance"].model(), open_images(home / "x"))
    omgd = resolved(given, distil={"objective": "omgd"})
    assert (omgd.discriminator.weight, omgd.distil.reconstruction) == (0.0, 0.0)
    dcd = resolved(given, distil={"objective": "dcd"})
    assert (dcd.discriminator.weight, dcd.distil.tap_loss, dcd.distil.taps_weight) == (
        *(1.0, "dcd", 1.0),
    )


def test_what_is_given_is_not_the_familys(home: Path) -> None:
    given = Given(WIRINGS["gaugan"].model(), open_images(home / "x", labels=home / "labels"))
    own = {"taps_weight": 0.0, "matching": 3.0, "tap_loss": "alignment", "taps": ["up_1"]}
    c = resolved(given, distil=own, supernet={"lr": 0.5}, discriminator={"real": "teacher"})
    assert (c.distil.taps_weight, c.distil.matching, c.distil.perceptual) == (0.0, 3.0, 10.0)
    assert (c.distil.tap_loss, c.distil.taps) == ("alignment", ("up_1",))
    assert (c.supernet.lr, c.finetune.lr, c.discriminator.real) == (0.5, 0.5, "teacher")


@pytest.mark.parametrize(
    ("target", "objective", "widens"),
    [(0.5, "quality", True), (0.5, "macs", False), (None, "macs", False), (None, "quality", False)],
)
def test_sets_are_widened_where_a_budget_alone_is_to_be_used_up(
    target: float | None, objective: str, widens: bool
) -> None:
    """The whole front would else be its widest end."""
    search = {"widen": True, "objective": objective}
    given = Given(WIRINGS["sngan"].model(), None)
    values = {"target": {"macs": target}, "search": search}
    assert resolve(given, checked(OnceForAllConfig, values)).search.widen is widens
    search["widen"] = False
    assert not resolve(given, checked(OnceForAllConfig, values)).search.widen


@pytest.mark.parametrize("name", ["macs", "params"])
def test_the_budget_is_a_fraction_of_the_teachers_cost(name: str) -> None:
    teacher = WIRINGS["cyclegan instance"].model()
    c = resolved(Given(teacher, None), target={name: 0.25})
    whole = getattr(measure(teacher.net, teacher.family.image.size), name)
    assert budget_of(teacher, c) == {name: pytest.approx(whole / 4)}
    assert budget_of(teacher, resolved(Given(teacher, None))) == {}


def test_the_uniform_student_is_the_widest_within_the_budget() -> None:
    teacher = WIRINGS["cyclegan instance"].model()
    c = resolved(
        Given(teacher, None), target={"macs": 0.3}, procedure="uniform", student={"wiring": "dense"}
    )
    found = fixed_widths(teacher, c)
    assert min(found.values()) >= 2
    whole = measure(teacher.net, 256).macs
    assert measure(teacher.build(found), 256).macs <= 0.3 * whole
    wider = {g: min(w, found[g] + 1) for g, w in teacher.widths.items()}
    assert measure(teacher.build(wider), 256).macs > 0.3 * whole


def test_procedures_of_one_student_have_the_time_of_all_stages() -> None:
    parts: dict[str, Any] = {
        "predistil": {"steps": 10, "minutes": 1.0},
        "supernet": {"steps": 20, "minutes": 2.0},
        "finetune": {"steps": 40, "minutes": 4.0},
    }
    c = checked(OnceForAllConfig, parts)
    assert ONCE_FOR_ALL.stage_minutes(c) == {"predistil": 1.0, "supernet": 2.0, "finetune": 4.0}
    for name in ("uniform", "scratch"):
        own = ONCE_FOR_ALL.settings_of(name, c)
        assert ONCE_FOR_ALL.stage_steps(own) == {"distil": 70}
        assert ONCE_FOR_ALL.stage_minutes(own) == {"distil": 7.0}
    full = ONCE_FOR_ALL.settings_of("full", c)
    assert ONCE_FOR_ALL.stage_minutes(full) == {
        "predistil": 1.75,
        "supernet": 3.5,
        "finetune": 1.75,
    }
    assert sum(ONCE_FOR_ALL.stage_steps(full).values()) == pytest.approx(70, abs=2)
    untimed = checked(OnceForAllConfig, {**parts, "finetune": {"steps": 40}})
    assert ONCE_FOR_ALL.stage_minutes(ONCE_FOR_ALL.settings_of("uniform", untimed)) == {
        "distil": None
    }


def test_each_variant_changes_what_it_says() -> None:
    base = OnceForAllConfig()
    own = {name: ONCE_FOR_ALL.settings_of(name, base) for name in ONCE_FOR_ALL.variants}
    assert own["no-taps"].distil.taps_weight == 0.0
    assert own["new-d"].discriminator.start == "reset"
    assert own["no-pseudo-pairs"].distil.unpaired == "none"
    assert own["unsorted"].supernet.sort is False
    assert own["sandwich"].supernet.sampling == "sandwich"
    assert own["shrinking"].supernet.sampling == "shrinking"
    assert own["shrinking"].student.width_ratio == 1.0
    assert own["shrinking"].distil.taps_weight == 0.0
    assert [own[n].distil.objective for n in ("omgd", "dcd")] == ["omgd", "dcd"]
    assert own["fast"] == base


def test_shrinking_begins_as_wide_as_the_teacher_in_the_time_of_all_stages() -> None:
    parts = {
        "supernet": {"steps": 10, "minutes": 1.0, "lr": 1e-3},
        "finetune": {"steps": 40, "minutes": 4.0},
        "student": {"width_ratio": 0.5},
    }
    shrunk = ONCE_FOR_ALL.settings_of("shrinking", checked(OnceForAllConfig, parts))
    assert shrunk.student.width_ratio == 1.0
    assert shrunk.search.ratios[0] == 1.0 and shrunk.search.ratios[-1] == 0.1875
    assert ONCE_FOR_ALL.stage_minutes(shrunk) == {"supernet": 1.5, "finetune": 3.5}
    assert ONCE_FOR_ALL.stage_steps(shrunk) == {"supernet": 15, "finetune": 35}
    assert (shrunk.supernet.lr, shrunk.finetune.lr) == (5e-4, 1e-3)
    own_lr = {**parts, "finetune": {"steps": 40, "lr": 3e-4}}
    shrunk = ONCE_FOR_ALL.settings_of("shrinking", checked(OnceForAllConfig, own_lr))
    assert (shrunk.supernet.lr, shrunk.finetune.lr) == (5e-4, 3e-4)
    assert ONCE_FOR_ALL.stage_minutes(shrunk) == {"supernet": None, "finetune": None}
    before = {**parts, "predistil": {"steps": 20, "minutes": 2.0}}
    shrunk = ONCE_FOR_ALL.settings_of("shrinking", checked(OnceForAllConfig, before))
    assert ONCE_FOR_ALL.stage_steps(shrunk) == {"supernet": 21, "finetune": 49}
    assert ONCE_FOR_ALL.training_minutes(shrunk) == pytest.approx(7.0)
    plain = ONCE_FOR_ALL.settings_of("shrinking", OnceForAllConfig())
    assert (plain.supernet.lr, plain.finetune.lr) == (None, None)


def test_the_published_objective_is_the_authors_whatever_the_shared_settings_are(
    home: Path,
) -> None:
    theirs = {"distil": {"distance": 20.0, "reconstruction": 0.0}, "discriminator": {"weight": 0.1}}
    mine = checked(OnceForAllConfig, theirs)
    given = Given(WIRINGS["cyclegan instance"].model(), open_images(home / "x"))
    found = resolve(given, ONCE_FOR_ALL.settings_of("published", mine))
    assert (found.distil.distance, found.distil.reconstruction) == (0.0, 10.0)
    assert found.discriminator.weight == 1.0
    for name in ("omgd", "dcd"):
        assert ONCE_FOR_ALL.settings_of(name, mine).distil.distance == 0.0
    assert resolve(given, ONCE_FOR_ALL.settings_of("no-taps", mine)).distil.distance == 20.0


def test_held_out_images_are_as_many_as_asked_and_no_others(home: Path) -> None:
    given = Given(WIRINGS["cyclegan instance"].model(), open_images(home / "x"))
    rest, held = hold_out(given, resolved(given))
    assert isinstance(rest, Images) and isinstance(held, Images)
    assert (len(rest), len(held)) == (4, 2)
    assert not {*rest.names} & {*held.names}


@pytest.mark.parametrize(
    ("quality", "largest"), [("miou", True), ("accuracy", True), ("l1", False)]
)
def test_of_a_segmenters_figures_the_larger_is_better(
    quality: str, largest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scorer gives the number of channels: the search ends at the most, or at the fewest."""
    given = Given(WIRINGS["sngan"].model(), None)
    c = resolved(
        given,
        target={"macs": 1.0},
        data={"batch": 2, "workers": 0},
        distance={"features": "tiny"},
        discriminator={"width": 4, "layers": 2},
        supernet={"steps": 1},
        search={"images": 2, "kind": "random", "evaluations": 5, "quality": quality},
    )
    seen: list[int] = []

    def score(widths: dict[str, int]) -> dict[str, float]:
        seen.append(sum(widths.values()))
        return {quality: float(seen[-1])}

    monkeypatch.setattr("ganpress.methods.once_for_all.method.scorer_for", lambda *_: score)
    ONCE_FOR_ALL.compress(given, c, Run(tmp_path, quiet=True))
    found = sum(json.loads((tmp_path / "search" / "done.json").read_text())["widths"].values())
    assert len(set(seen)) > 1 and found == (max(seen) if largest else min(seen))
