"""What a network of masks reads and gives, and which of its classes are of interest: a few lines of
TOML beside its file, or one of `PRESETS`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ganpress.errors import ConfigError, did_you_mean
from ganpress.measures.segmenter_file import NetworkInput, line_of, read_toml, settings_from
from ganpress.run.settings import PixelSize

Class = str | Annotated[int, Field(ge=0)]
"""A class by its name or its number."""

FACE_PARTS = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear"),
    *("ear_r", "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
"""The classes of CelebAMask-HQ in the order of the logits of BiSeNet's published weights."""
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PRESETS: dict[str, dict[str, Any]] = {
    "bisenet": {  # Liu et al., CVPR 2021: all but background and cloth
        **_IMAGENET,
        "size": 512,
        "classes": FACE_PARTS,
        "drop": (0, 16),
    },
    "sinet": {
        "net": "sinet",
        "size": 224,
        "white": 255.0,
        "channels": "BGR",
        "mean": (102.89, 111.25, 126.91),
        "std": tuple(255 * std for std in (62.93, 62.82, 66.36)),
        "classes": ("background", "person"),
        "keep": ("person",),
    },
    "u2netp": {**_IMAGENET, "size": 320, "output": "probability"},
}
EXAMPLE = 'size = 512, classes = 19, drop = [0, 16], or output = "probability"'


class MaskCard(NetworkInput):
    """What a segmentation or saliency network reads and gives."""

    preset: str | None = Field(
        default=None, description=f"what is not said here is as of: {', '.join(PRESETS)}"
    )
    net: Literal["sinet"] | None = Field(
        default=None, description="network of a .pth file, which holds weights alone"
    )
    size: PixelSize | Literal["own"] = Field(
        default="own", description="pixels that pictures are resized to; own: as they are"
    )
    layout: Literal["nchw", "nhwc"] = Field(
        default="nchw", description="order of the dimensions of input and output"
    )
    output: Literal["classes", "logit", "probability"] = Field(
        default="classes",
        description="classes: logits, of which the largest is a pixel's class; one channel else: "
        "a logit, or a probability of 0 to 1",
    )
    classes: tuple[str, ...] | Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="names of the classes in the order of the logits, or how many"
    )
    keep: tuple[Class, ...] | None = Field(
        default=None, description="classes of interest, by name or number"
    )
    drop: tuple[Class, ...] | None = Field(
        default=None, description="all classes but these are of interest"
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="a probability from which a pixel is wholly of interest, and not at all below; "
        "None: the probability itself",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names; their numbers where only a count is given; () of one channel."""
        if self.classes is None or isinstance(self.classes, int):
            return tuple(str(i) for i in range(self.classes or 0))
        return self.classes

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the classes of interest."""
        given = [self._number(one) for one in self.keep or self.drop or ()]
        if self.keep is not None:
            return tuple(sorted(set(given)))
        return tuple(i for i in range(len(self.names)) if i not in given)

    def _number(self, one: Class) -> int:
        return one if isinstance(one, int) else self.names.index(one)


def read_card(network: Path, card: str | None) -> tuple[MaskCard, Path]:
    """What a network's file is described by, and where (the TOML file to mend, for messages).

    Args: card: a TOML file or the name of a preset; None: the .toml beside the network.
    Raises: ConfigError, which names file and line.
    """
    beside = network.with_suffix(".toml")
    if card in PRESETS:
        return checked_card({"preset": card}, f"mask.card={card}"), beside
    path = Path(card) if card else beside
    if card and path.suffix != ".toml":
        raise ConfigError(
            f"mask.card={card} is neither a .toml file nor one of {', '.join(PRESETS)}"
            f"{did_you_mean(card, PRESETS)}."
        )
    values, text = read_toml(
        path,
        f"write what {network.name} reads and gives, such as {EXAMPLE}, a line each; or name one "
        f"that is known by mask.card: {', '.join(PRESETS)}",
    )
    return checked_card(values, str(path), text), path


def checked_card(values: dict[str, Any], where: str, text: str = "") -> MaskCard:
    """A card of plain data, over its preset. Raises: ConfigError naming where, and the line."""
    preset = values.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise ConfigError(
            f"{where}{line_of(text, 'preset')}: there is no preset '{preset}'"
            f"{did_you_mean(str(preset), PRESETS)}. Presets: {', '.join(PRESETS)}."
        )
    base = dict(PRESETS[preset]) if preset else {}
    anew = {"keep", "drop"} if {"keep", "drop"} & values.keys() else set()
    if values.get("output", "classes") != "classes":  # one channel, of no classes
        anew = {"classes", "keep", "drop"}
    base = {name: value for name, value in base.items() if name not in anew}
    found = settings_from(MaskCard, {**base, **values}, where, text)
    _check_classes(found, where, text)
    return found


def _check_classes(card: MaskCard, where: str, text: str) -> None:
    """Refuse classes without a choice among them, a choice that is none, and what contradicts."""
    given = {name: getattr(card, name) for name in ("classes", "keep", "drop")}
    said = [name for name, value in given.items() if value is not None]
    if card.output != "classes":
        if said:
            raise ConfigError(
                f"{where}{line_of(text, said[0])}: '{said[0]}' is of class logits, and output is "
                f"'{card.output}', one channel: leave it out."
            )
        return
    if card.classes is None:
        raise ConfigError(
            f"{where}: 'classes' is missing: their names or how many there are (or, of one "
            'channel, output = "probability" or output = "logit").'
        )
    if twice := next((n for n in card.names if card.names.count(n) > 1), None):
        raise ConfigError(
            f"{where}{line_of(text, 'classes')}: of the classes, '{twice}' is named twice."
        )
    if card.threshold is not None:
        raise ConfigError(
            f"{where}{line_of(text, 'threshold')}: 'threshold' is of a probability, and output is "
            "'classes': leave it out."
        )
    if (card.keep is None) == (card.drop is None):
        raise ConfigError(
            f"{where}: say which classes are of interest: give one of 'keep' and 'drop', such as "
            "drop = [0]."
        )
    for name in ("keep", "drop"):
        for one in given[name] or ():
            if one not in (card.names if isinstance(one, str) else range(len(card.names))):
                near = did_you_mean(one, card.names) if isinstance(one, str) else ""
                raise ConfigError(
                    f"{where}{line_of(text, name)}: {name} has {one!r}, which is no class{near}. "
                    f"Classes: 0 to {len(card.names) - 1}, {', '.join(card.names)}."
                )
    if not card.kept:
        raise ConfigError(f"{where}: no class is of interest: keep one, or drop fewer.")
