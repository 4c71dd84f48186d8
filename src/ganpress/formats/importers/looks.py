"""What a foreign file looks like, from the names of its tensors."""

from __future__ import annotations

import re

from ganpress.types import State

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
    ("a ResNet generator of CycleGAN", "cyclegan", r"model\.\d+\.conv_block\.\d\."),
    ("a SPADE discriminator (a generator is needed)", None, r"discriminator_\d\.model\d"),
    ("a MUNIT discriminator (a generator is needed)", None, r"([ab]\.)?cnns\.\d\."),
    ("a VGG or SqueezeNet classifier", None, r"features\.\d+\."),
    ("a ResNet classifier", None, r"layer[1-4]\.\d\.conv1\.weight"),
)


def looks_like(state: State) -> tuple[str | None, str | None]:
    """What the file is in words, and the import kind for it; None for what is not known."""
    for what, kind, pattern in SIGNS:
        if any(re.match(pattern, name) for name in state):
            return what, kind
    if _is_patch_discriminator(state):
        return "a PatchGAN discriminator (a generator is needed)", None
    if {"model.1.weight", "model.4.weight", "model.7.weight"} <= state.keys():
        return "a ResNet generator of CycleGAN without blocks", "cyclegan"
    return None, None


def _is_patch_discriminator(state: State) -> bool:
    first = state.get("model.0.weight")
    return first is not None and tuple(first.shape[2:]) == (4, 4)
