"""Distances between a student's and its teacher's pictures, and the protocol that names them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eval_inputs import label_maps, model
from nets import WIRINGS, Wiring

from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, ImagesError, WeightsError
from ganpress.losses.features import load_features
from ganpress.losses.terms import unit_distance
from ganpress.measures.both_costs import compare_costs
from ganpress.measures.fidelity import evaluate, evaluation_size
from ganpress.measures.quality import evaluate_quality
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import inputs_of
from ganpress.training.shared_settings import DataSettings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 5, seed=2, size=48))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return label_maps(tmp_path_factory.mktemp("labelled"))


def test_a_student_equal_to_its_teacher_is_at_distance_nought(photos: Images) -> None:
    found = evaluate(model(0), model(0), photos, size=32, features="tiny")
    assert found.metrics == {"tiny-unit-distance": 0.0, "l1": 0.0}
    assert found.spread == {"tiny-unit-distance": 0.0, "l1": 0.0}
    assert found.count == 5


def test_l1_is_the_share_of_the_grey_range(photos: Images) -> None:
    black, white = model(0), model(0)
    for net, value in ((black.net, -30.0), (white.net, 30.0)):
        torch.nn.init.zeros_(net.get_parameter("out.conv.weight"))
        torch.nn.init.constant_(net.get_parameter("out.conv.bias"), value)
    found = evaluate(black, white, photos, size=32, features="tiny")
    assert found.metrics["l1"] == pytest.approx(1.0)


def test_the_teacher_makes_its_pictures_once_for_several_students(photos: Images) -> None:
    teacher, calls = model(3), []
    teacher.net.register_forward_hook(lambda *_: calls.append(1))
    first = evaluate(model(1), teacher, photos, size=32, features="tiny")
    once = len(calls)
    second = evaluate(model(2), teacher, photos, size=32, features="tiny")
    assert once > 0 and len(calls) == once
    assert second.metrics != first.metrics
    with torch.no_grad():  # another teacher is another reference
        next(teacher.net.parameters()).mul_(1.5)
    moved = evaluate(model(1), teacher, photos, size=32, features="tiny")
    assert len(calls) > once and moved.metrics != first.metrics


def test_a_teachers_pictures_of_one_pack_are_not_taken_for_those_of_another(tmp_path: Path) -> None:
    for most in (40, 256):
        draw = np.random.default_rng(most)
        some = draw.integers(0, most, (3, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{most}.npz", images=some)
        images = open_images(tmp_path / f"{most}.npz")
        found = evaluate(model(0), model(1), images, size=32, features="tiny")
        x = torch.from_numpy(some).permute(0, 3, 1, 2) / 127.5 - 1
        wanted = (model(0)(x) - model(1)(x)).abs().mean() / 2
        assert found.metrics["l1"] == pytest.approx(float(wanted), rel=1e-4)


def test_numbers_do_not_depend_on_the_batch(photos: Images) -> None:
    found = [
        evaluate(model(0), model(1), photos, size=32, batch=n, features="tiny") for n in (1, 2, 8)
    ]
    assert found[0].metrics["l1"] > 0.01
    for other in found[1:]:
        assert other.metrics == pytest.approx(found[0].metrics, rel=1e-5)
        assert other.spread == pytest.approx(found[0].spread, rel=1e-3)
        assert other.yardsticks == pytest.approx(found[0].yardsticks, rel=1e-5)


def test_the_spread_is_the_standard_error_over_photos(photos: Images) -> None:
    a, b = model(0), model(1)
    found = evaluate(a, b, photos, size=32, features="tiny")
    x = torch.cat([batch.x for batch in evaluation(photos, batch=5, size=32)])
    each = (a(x) - b(x)).abs().mean((1, 2, 3)) / 2
    assert found.metrics["l1"] == pytest.approx(float(each.mean()))
    assert found.spread["l1"] == pytest.approx(float(each.std() / 5**0.5))


@pytest.mark.parametrize("batch", [2, 5])
def test_the_yardstick_is_how_far_apart_the_teachers_own_pictures_are(
    batch: int, photos: Images
) -> None:
    teacher, net = model(1), load_features("tiny")
    found = evaluate(model(0), teacher, photos, size=32, batch=batch, features="tiny")
    x = torch.cat([batch.x for batch in evaluation(photos, batch=5, size=32)])
    with torch.no_grad():
        made = teacher(x)
        apart = unit_distance(net(made[:-1]), net(made[1:])).mean()
    other = "the teacher's picture of another input"
    assert found.yardsticks == pytest.approx(
        {
            f"l1, {other}": float((made[:-1] - made[1:]).abs().mean() / 2),
            f"tiny-unit-distance, {other}": float(apart),
        },
        rel=1e-4,
    )


def test_a_single_picture_has_no_yardstick(photos: Images) -> None:
    found = evaluate(model(0), model(1), photos.some([0]), size=32, features="tiny")
    assert found.yardsticks == {} and found.metrics["l1"] > 0


def test_the_protocol_names_photos_geometry_and_features(photos: Images) -> None:
    found = evaluate(model(0), model(1), photos, size=32, features="tiny")
    assert photos.digest()[:12] in found.protocol["photos"]
    assert "32 px" in found.protocol["geometry"]
    assert found.protocol["features"].startswith("tiny, sha256 ")
    assert found.as_dict()["metrics"] == found.metrics


def test_a_student_of_another_family_is_refused(photos: Images) -> None:
    with pytest.raises(ConfigError, match="'cartoongan', the teacher a 'cyclegan'"):
        evaluate(model(0, "cartoongan"), model(0), photos, size=32, features="tiny")


@pytest.mark.parametrize(
    ("size", "why"), [(6, "divisible by 4"), (30, "divisible by 4"), (-32, "at least 1 pixel")]
)
def test_a_size_that_the_network_cannot_take_is_refused(
    size: int, why: str, photos: Images
) -> None:
    with pytest.raises(ConfigError, match=rf"The size is {size}: .*{why}"):
        evaluate(model(0), model(0), photos, size=size, features="tiny")


def test_pictures_that_are_not_square_are_evaluated(photos: Images) -> None:
    found = evaluate(model(0), model(1), photos, size=(16, 32), features="tiny")
    assert found.protocol["geometry"].startswith("to cover 16x32 px")
    square = evaluate(model(0), model(1), photos, size=(32, 32), features="tiny")
    assert square == evaluate(model(0), model(1), photos, size=32, features="tiny")
    assert square.metrics["l1"] != found.metrics["l1"]


def test_unknown_features_are_refused_with_the_nearest_name(photos: Images) -> None:
    with pytest.raises(ConfigError, match="did you mean 'squeezenet'"):
        evaluate(model(0), model(0), photos, size=32, features="squeezent")


def test_the_state_of_the_networks_is_left_as_it_was(photos: Images) -> None:
    student = model(0)
    student.net.train()
    evaluate(student, model(1), photos, size=32, features="tiny")
    assert student.net.training
    assert all(p.requires_grad and p.grad is None for p in student.net.parameters())


def test_costs_are_compared_as_ratios_teacher_to_student() -> None:
    found = compare_costs(model(0, width=8), model(0, width=4), size=32, quick=True)
    teacher, student = found["teacher"], found["student"]
    assert found["family"] == "cyclegan"
    for name in ("params", "macs", "macs_outres", "bytes"):
        assert found["ratios"][name] == pytest.approx(teacher[name] / student[name], abs=1e-3)
    time = student["latency_ms"]
    assert 0 < time["median"] <= time["p95"]
    assert (time["device"], time["threads"], time["batch"], time["size"]) == ("cpu", 1, 1, 32)
    assert student["widths"] == dict.fromkeys(student["widths"], 4)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (DataSettings(size=64), 64),
        (DataSettings(size=64, load_size=72), 72),
        (DataSettings(size=64, load_size=74), 72),
        (DataSettings(size=512), 256),
    ],
)
def test_the_size_to_evaluate_at_is_what_training_saw(data: DataSettings, size: int) -> None:
    assert evaluation_size(data, model(0)) == size


@pytest.mark.parametrize("name", ["sngan", "sngan conditional", "stylegan2", "munit"])
def test_noise_and_styles_are_drawn_once_and_given_to_both(name: str, photos: Images) -> None:
    teacher, student = (WIRINGS[name].model(seed) for seed in (0, 1))
    size = 32 if name == "munit" else None
    same = evaluate(teacher, teacher, photos, size=size, features="tiny")
    assert same.metrics == {"tiny-unit-distance": 0.0, "l1": 0.0} and same.count == 5
    found = [
        evaluate(student, teacher, photos, size=size, batch=n, features="tiny") for n in (1, 4)
    ]
    assert found[0].metrics["l1"] > 0.01
    assert found[0].metrics == pytest.approx(found[1].metrics, rel=1e-4)
    other = evaluate(student, teacher, photos, size=size, features="tiny", seed=1)
    assert other.metrics != pytest.approx(found[0].metrics, rel=1e-4)
    assert other.protocol["seed"].startswith("1: ")


def test_a_family_that_reads_noise_needs_no_photos(photos: Images) -> None:
    model = WIRINGS["sngan"].model()
    found = evaluate(model, model, None, count=3, features="tiny")
    assert found.count == 3 and "photos" not in found.protocol
    assert found.protocol["reference"] == "the teacher's output on the same noise"
    with pytest.raises(ConfigError, match="makes pictures of 32 pixels"):
        evaluate(model, model, None, size=64, features="tiny")


def test_a_count_that_says_nothing_is_refused(photos: Images) -> None:
    noise = WIRINGS["sngan"].model()
    with pytest.raises(ConfigError, match="count is for pictures made from noise"):
        evaluate(model(0), model(1), photos, size=32, features="tiny", count=3)
    for count in (0, -1):
        with pytest.raises(ConfigError, match="at least 1"):
            evaluate(noise, noise, None, features="tiny", count=count)


def test_label_maps_are_read_by_both(labelled: Images, photos: Images) -> None:
    teacher, student = (WIRINGS["gaugan"].model(seed) for seed in (0, 1))
    same = evaluate(teacher, teacher, labelled, size=32, features="tiny")
    found = evaluate(student, teacher, labelled, size=32, features="tiny")
    assert same.metrics["l1"] == 0 < found.metrics["l1"]
    assert found.protocol["reference"] == "the teacher's output on the same label map"
    batch = next(evaluation(labelled, batch=2, size=32))
    (seen,) = inputs_of(teacher, batch, torch.Generator())
    assert batch.labels is not None
    assert torch.equal(seen[:, :4].argmax(1), batch.labels)
    with pytest.raises(ConfigError, match="--labels"):
        evaluate(student, teacher, photos, size=32, features="tiny")
    with pytest.raises(ConfigError, match="reads images"):
        evaluate(student, teacher, None, size=32, features="tiny")


@pytest.mark.parametrize("to", ["teacher", "real pictures"])
def test_what_the_generator_reads_is_asked_for_before_weights_that_are_not_here(
    to: str, labelled: Images, photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    teacher = WIRINGS["gaugan"].model()
    few = Wiring("gaugan", {"labels": 2, "edges": False}).model()

    def compared(model: Model, images: Images) -> object:
        how: dict[str, Any] = {"size": 64}
        ours = (model, model, images) if to == "teacher" else (model, images)
        return (evaluate if to == "teacher" else evaluate_quality)(*ours, **how)

    with pytest.raises(ConfigError, match=r"reads label maps: give them \(--labels\)"):
        compared(teacher, photos)
    with pytest.raises(ImagesError, match="holds id 3"):
        compared(few, labelled)
    with pytest.raises(WeightsError):
        compared(teacher, labelled)


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_what_is_not_opened_images_is_refused_with_what_opens_them(photos: Images) -> None:
    opens = r"images is a str \(photos\).*ganpress\.open_images\(\.\.\.\)"
    with pytest.raises(ConfigError, match=opens):
        evaluate(model(0), model(0), "photos", size=32, features="tiny")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=opens):
        evaluate_quality(model(0), "photos", features="tiny")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"other is a str \(o\)"):
        evaluate_quality(model(0), photos, other="o", features="tiny")  # type: ignore[arg-type]
