"""Cards of mask networks: presets, what is of interest, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from mask_files import red_network

from ganpress.errors import ConfigError
from ganpress.measures.interest.card import MaskCard, checked_card, read_card


def card(folder: Path, toml: str, given: str | None = None) -> MaskCard:
    return read_card(red_network(folder, toml), given)[0]


def test_the_papers_preset_drops_background_and_cloth_of_19_classes(tmp_path: Path) -> None:
    """Content-Aware GAN Compression's release: BiSeNet at 512 pixels, 0 and 16 dropped."""
    found = card(tmp_path, "", "bisenet")
    assert len(found.names) == 19 and (found.names[0], found.names[16]) == ("background", "cloth")
    assert found.kept == (*range(1, 16), 17, 18)
    assert found.size == 512 and found.channels == "RGB"
    of_white = [(1 - m) / s for m, s in zip(found.mean, found.std, strict=True)]
    assert of_white == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)


def test_a_card_changes_what_it_says_of_its_preset_alone(tmp_path: Path) -> None:
    found = card(tmp_path, 'preset = "bisenet"\nkeep = ["hair", 1]\n')
    assert found.kept == (1, 17) and found.size == 512


def test_a_card_may_lie_elsewhere(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("classes = 3\nkeep = [2]\n")
    assert card(tmp_path, "", str(other)).kept == (2,)


def test_a_preset_of_classes_can_be_of_one_channel_instead(tmp_path: Path) -> None:
    found = checked_card({"preset": "bisenet", "output": "probability"}, "card.toml")
    assert (found.classes, found.drop, found.size, found.mean[0]) == (None, None, 512, 0.485)


@pytest.mark.parametrize(
    ("toml", "given", "why"),
    [
        ("clases = 3\nkeep = [0]", None, r"red\.toml, line 1: there is no setting 'clases' \(did "),
        ("keep = [0]", None, "'classes' is missing"),
        ("classes = 3", None, "give one of 'keep' and 'drop', such as drop"),
        ("classes = 3\nkeep = [0]\ndrop = [1]", None, "give one of 'keep' and 'drop'"),
        (
            "classes = 3\ndrop = [3]",
            None,
            r"line 2: drop has 3, which is no class\. Classes: 0 to 2",
        ),
        ("classes = 3\nkeep = [-1]", None, "keep is"),
        (
            'classes = ["sky", "road"]\nkeep = ["raod"]',
            None,
            r"'raod', which is no class \(did you",
        ),
        ("classes = 2\ndrop = [0, 1]", None, "no class is of interest"),
        ('output = "logit"\nclasses = 2', None, "line 2: 'classes' is of class logits"),
        ("classes = 2\nkeep = [1]\nthreshold = 0.5", None, "'threshold' is of a probability"),
        ('preset = ["bisenet"]', None, r"line 1: there is no preset '\['bisenet'\]'"),
        (
            'classes = ["a", "b", "a"]\ndrop = ["a"]',
            None,
            "line 1: of the classes, 'a' is named twi",
        ),
        ('preset = "bisnet"', None, r"no preset 'bisnet' \(did you mean 'bisenet'\?\)"),
        ("classes = = 3", None, "is not valid TOML"),
        ("", "bisnet", r"neither a \.toml file nor one of .* \(did you mean 'bisenet'\?\)"),
        ("", "none.toml", "There is no none.toml: write what red.pt reads and gives"),
    ],
)
def test_a_card_that_is_wrong_is_refused_where_it_is(
    tmp_path: Path, toml: str, given: str | None, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        card(tmp_path, toml, given)
