"""What every method refuses before any stage: real pictures of something else than the generator
read, and pictures that the feature network cannot read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cagc_runs import settings as cagc_settings
from family_runs import write_domains
from nets import WIRINGS
from ofa_runs import images_for, teacher_of
from ofa_runs import settings as ofa_settings
from slim_runs import settings as slim_settings

from ganpress.data import Images, open_images
from ganpress.errors import ConfigError
from ganpress.methods import METHODS
from ganpress.methods.base import Given

SETTINGS = {"slim": slim_settings, "once-for-all": ofa_settings, "content-aware": cagc_settings}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("domains"))


def asked(method: str, given: Given, **changes: Any) -> None:
    """Resolve and check, as before any stage; real are images."""
    chosen = METHODS[method]
    over = {**changes, "discriminator": {"real": "images", **changes.get("discriminator", {})}}
    chosen.check(given, chosen.resolve(given, SETTINGS[method](**over)))


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pix2pix", "comes with its target"),
        ("gaugan instance", "comes with its photo"),
        ("sngan", "reads noise"),
    ],
)
def test_pictures_of_the_domain_do_not_take_the_place_of_the_true_ones(
    method: str, name: str, why: str, home: Path
) -> None:
    given = Given(teacher_of(name), images_for(WIRINGS[name], home), open_images(home / "x"))
    if name == "sngan":
        given = replace(given, images=open_images(home / "y"))
    with pytest.raises(ConfigError, match=f"{why}.*leave it out") as refused:
        asked(method, given, data={"size": 64 if name == "gaugan instance" else 32})
    assert "reals" in str(refused.value)


@pytest.mark.parametrize("method", SETTINGS)
def test_a_conditional_discriminator_is_shown_no_picture_beside_a_photo_of_another(
    method: str, home: Path
) -> None:
    given = Given(teacher_of("pix2pix"), open_images(home / "x"), open_images(home / "y"))
    with pytest.raises(ConfigError, match=r"beside the photo.*discriminator\.start=fresh"):
        asked(method, given)
    asked(method, given, discriminator={"start": "fresh"})
    asked(method, replace(given, images=open_images(home / "x", pairs=home / "y"), reals=None))


def pack(home: Path, labels: list[int] | None) -> Images:
    """Pictures of 32 pixels, with a class each where there are some."""
    found = {"images": np.zeros((4, 32, 32, 3), np.uint8)}
    if labels is not None:
        found["labels"] = np.array(labels)
    path = home / f"pack-{labels}.npz"
    np.savez(path, **found)
    return open_images(path)


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize(
    ("labels", "words"), [(None, "which the images do not have"), ([0, 1, 2, 4], "is of class 4")]
)
def test_images_without_the_classes_that_a_discriminator_reads_are_refused_before_any_stage(
    method: str, labels: list[int] | None, words: str, home: Path
) -> None:
    teacher = teacher_of("sngan conditional")
    with pytest.raises(ConfigError, match=words):
        asked(method, Given(teacher, pack(home, labels)))
    asked(method, Given(teacher, pack(home, [0, 1, 2, 3])))


@pytest.mark.parametrize("method", SETTINGS)
def test_pictures_too_small_for_the_feature_network_are_refused_before_any_stage(
    method: str, home: Path
) -> None:
    """Also where nothing is trained by it: the student is evaluated by it at the end."""
    photos = Given(teacher_of("cyclegan instance"), open_images(home / "x"))
    noise = Given(teacher_of("stylegan2"), open_images(home / "x"))
    small: dict[str, Any] = {"data": {"size": 16}}
    small["discriminator"] = {"layers": 1, "real": "teacher"}
    for given in (photos, noise):  # of 16 pixels
        squeezed = {"features": "squeezenet", "kind": "mse"}
        with pytest.raises(ConfigError, match=r"at least 17 pixels, .* have 16.*features=tiny"):
            asked(method, given, **small, distance=squeezed)
        asked(method, given, **small)


def test_pictures_of_the_domain_are_taken_where_the_search_alone_compares_with_them(
    home: Path,
) -> None:
    given = Given(teacher_of("cyclegan instance"), open_images(home / "x"), open_images(home / "y"))
    teachers = {"discriminator": {"real": "teacher"}}
    asked("once-for-all", given, **teachers, search={"quality": "frechet"})
    words = r"used with discriminator\.real=images or search\.quality=frechet only"
    with pytest.raises(ConfigError, match=words):
        asked("once-for-all", given, **teachers)
    with pytest.raises(ConfigError, match=r"used with discriminator\.real=images only"):
        asked("slim", given, **teachers)
    munit = Given(teacher_of("munit"), given.images, given.reals)  # whose styles are of those
    asked("once-for-all", munit, **teachers)
