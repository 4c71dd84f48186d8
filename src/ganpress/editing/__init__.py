"""What a small generator is used for: projection, mixing, morphing, directions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpress.editing.direction_file import load_directions, save_directions
    from ganpress.editing.directions import Directions, find_directions, move
    from ganpress.editing.latent_file import Latent, load_latent, save_latent
    from ganpress.editing.latents import LatentSpace, latent_space
    from ganpress.editing.mixing import mix
    from ganpress.editing.morphing import morph, smoothness
    from ganpress.editing.pictures import Edited, beside_teacher, edited
    from ganpress.editing.projection import project
    from ganpress.editing.results import Teacher, write_mix, write_morph
    from ganpress.editing.settings import MorphSettings, ProjectSettings
    from ganpress.editing.slider_page import make_sliders

_HOME = {
    **dict.fromkeys(("load_directions", "save_directions"), "direction_file"),
    **dict.fromkeys(("Directions", "find_directions", "move"), "directions"),
    **dict.fromkeys(("Latent", "load_latent", "save_latent"), "latent_file"),
    **dict.fromkeys(("LatentSpace", "latent_space"), "latents"),
    "mix": "mixing",
    **dict.fromkeys(("morph", "smoothness"), "morphing"),
    **dict.fromkeys(("Edited", "beside_teacher", "edited"), "pictures"),
    "project": "projection",
    **dict.fromkeys(("Teacher", "write_mix", "write_morph"), "results"),
    **dict.fromkeys(("MorphSettings", "ProjectSettings"), "settings"),
    "make_sliders": "slider_page",
}

__all__ = [
    "Directions",
    "Edited",
    "Latent",
    "LatentSpace",
    "MorphSettings",
    "ProjectSettings",
    "Teacher",
    "beside_teacher",
    "edited",
    "find_directions",
    "latent_space",
    "load_directions",
    "load_latent",
    "make_sliders",
    "mix",
    "morph",
    "move",
    "project",
    "save_directions",
    "save_latent",
    "smoothness",
    "write_mix",
    "write_morph",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ganpress.editing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ganpress.editing' has no attribute '{name}'")
