"""What a foreign file looks like, from the names of its tensors."""

from __future__ import annotations

import re

from ganpress.formats.importers.normed_weights import under_plain_names
from ganpress.formats.importers.relatives import relative_of
from ganpress.types import State

CYCLEGANS_FIRST_BLOCK = 10  # its place in `model`, behind two down-samplings

# What it is, the kind that imports it (None: nothing does), and a name only it has.
SIGNS: tuple[tuple[str, str | None, str], ...] = (
    ("a CartoonGAN generator", "cartoongan", r"conv\d\d_1\.weight|in\d\d_1\.scale|deconv\d\d_1\."),
    ("a generator of GAN Compression", "gan-compression", r"model\.\d+\.conv_block\.\d\.conv\.\d"),
    ("a U-Net generator (pix2pix)", "pix2pix", r"model\.model\.\d"),
    ("a SPADE generator", "spade", r"(head_0|G_middle_0|up_0)\."),
    ("a MUNIT generator", "munit", r"([ab]\.)?(enc_content|enc_style|dec)\.model\."),
    (
        "a StyleGAN2 generator of NVlabs",
        "stylegan2-nvlabs",
        r"(synthesis\.b\d+\.|mapping\.fc\d)",
    ),
    (
        "a StyleGAN2 generator",
        "stylegan2",
        r"(convs\.\d+\.conv\.modulation|conv1\.conv\.modulation)\.",
    ),
    ("a StyleGAN2 discriminator (a generator is needed)", None, r"final_linear\.\d|convs\.0\.0\."),
    (
        "an SNGAN discriminator (a generator is needed)",
        None,
        r"l5\.weight|block\d\.c1\.weight_orig",
    ),
    ("an SNGAN generator", "sngan", r"block\d\.(c1|c_sc)\.weight"),
    ("a U-Net generator of PyTorch-GAN", "pytorch-gan", r"down1\.model\.0\.weight"),
    ("a ResNet generator of PyTorch-GAN", "pytorch-gan", r"model\.\d+\.block\.\d\."),
    ("an anti-aliased ResNet generator (CUT)", "cut", r"model\.\d+\.filt"),
    ("a ResNet generator of CycleGAN", "cyclegan", r"model\.\d+\.conv_block\.\d\."),
    ("a SPADE discriminator (a generator is needed)", None, r"discriminator_\d\.model\d"),
    ("a MUNIT discriminator (a generator is needed)", None, r"([ab]\.)?cnns\.\d\."),
    ("a VGG or SqueezeNet classifier", None, r"features\.\d+\."),
    ("a ResNet classifier", None, r"layer[1-4]\.\d\.conv1\.weight"),
)


def looks_like(state: State) -> tuple[str | None, str | None]:
    """What the file is in words, and the import kind for it; None for what is not known."""
    named = under_plain_names(state)
    if relative := relative_of(named):
        return relative.what, None
    for what, kind, pattern in SIGNS:
        if any(re.match(pattern, name) for name in named):
            if kind == "cyclegan" and _first_block(named) > CYCLEGANS_FIRST_BLOCK:
                return "a global generator of pix2pixHD", "pix2pixhd"
            return what, kind
    if _is_patch_discriminator(named):
        return "a PatchGAN discriminator (a generator is needed)", None
    if {"model.1.weight", "model.4.weight", "model.7.weight"} <= named.keys():
        return "a ResNet generator of CycleGAN without blocks", "cyclegan"
    return None, None


def how_far(state: State) -> str | None:
    """What ganpress can do with a network that it names but does not import, or None."""
    relative = relative_of(under_plain_names(state))
    return relative.far if relative else None


def _first_block(state: State) -> int:
    """The place of the first residual block."""
    blocks = (re.match(r"model\.(\d+)\.conv_block\.", name) for name in state)
    return min(int(block[1]) for block in blocks if block)


def _is_patch_discriminator(state: State) -> bool:
    first = state.get("model.0.weight")
    return first is not None and tuple(first.shape[2:]) == (4, 4)
