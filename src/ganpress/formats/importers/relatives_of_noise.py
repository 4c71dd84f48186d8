"""Networks that read noise and that ganpress does not import, by the names of their tensors."""

from __future__ import annotations

import re

from ganpress.formats.importers.relative import Relative
from ganpress.types import State

_NOISE = (
    "Of the networks that read noise, ganpress has SNGAN (CIFAR-10's ResNet) and StyleGAN2: this "
    "one cannot be imported."
)
_CLASSES = (
    "ganpress's StyleGAN2 reads z alone: a network that reads a class cannot be imported. One that "
    "was trained without classes (cond=False) can."
)
_IS_DISCRIMINATOR = "Import its generator; this discriminator cannot be read beside it."


def _begins_wide(state: State) -> bool:
    """Whether the first convolution turns a vector, of more numbers than a picture has channels,
    into a map: a transposed one of 4x4."""
    first = r"(main|net|layers)\.0\.weight"
    weights = [t for n, t in state.items() if re.fullmatch(first, n)]
    return any(tuple(t.shape[2:]) == (4, 4) and t.shape[0] > 4 < t.shape[1] for t in weights)


OF_NOISE: tuple[Relative, ...] = (
    Relative(
        "a StyleGAN3 generator",
        (r"synthesis\.input\.(freqs|phases)|synthesis\.L\d+_\d+_\d+\.",),
        "Its filtered nonlinearities are no family of ganpress: it cannot be imported. StyleGAN2 "
        "files of the same code base (train.py --cfg=stylegan2) can.",
    ),
    Relative(
        "a class-conditional StyleGAN2 generator of NVlabs",
        (r"mapping\.embed\.weight", r"synthesis\.b\d+\."),
        _CLASSES,
    ),
    Relative(
        "GFPGAN, a U-Net with a StyleGAN2 decoder that reads its maps",
        (r"stylegan_decoder\.", r"conv_body_first\."),
        "ganpress has the StyleGAN2 alone, without feature modulation: it cannot be imported.",
    ),
    Relative(
        "a StyleGAN or ProGAN generator of rosinality",
        (r"(generator\.)?progression\.\d", r"(generator\.)?to_rgb\.\d"),
        "ganpress has StyleGAN2, not the progressively grown networks before it: it cannot be "
        "imported.",
    ),
    Relative(
        "a StyleGAN generator of the first version",
        (r"(gen\.)?(g_)?synthesis\.(blocks\.\d+x\d+|init_block)\.",),
        "ganpress has StyleGAN2, whose layers differ: it cannot be imported.",
    ),
    Relative(
        "a ProGAN generator of pytorch_GAN_zoo",
        (r"(module\.)?scaleLayers\.\d", r"(module\.)?toRGBLayers\.\d"),
        "ganpress has StyleGAN2, not the progressively grown networks before it: it cannot be "
        "imported.",
    ),
    Relative(
        "a BigGAN generator",
        (r"(linear|blocks\.\d+\.\d+\.conv1)\.(u|sv)0", r"blocks\.\d+\.\d+\.bn1\.(gain|bias)"),
        _NOISE,
    ),
    Relative(
        "a BigGAN generator of Hugging Face",
        (r"generator\.gen_z\.", r"generator\.layers\.\d+\.bn_0\."),
        _NOISE,
    ),
    Relative(
        "a BigGAN discriminator",
        (r"blocks\.\d+\.\d+\.conv1\.(u|sv)0", r"embed\.(u|sv)0"),
        _IS_DISCRIMINATOR,
    ),
    Relative(
        "a lightweight GAN generator (lucidrains)",
        (r"(G\.|GE\.)?initial_conv\.\d", r"(G\.|GE\.)?out_conv\.", r"(G\.|GE\.)?layers\.\d+\.0\."),
        _NOISE,
    ),
    Relative(
        "a FastGAN generator",
        (r"init\.init\.\d", r"feat_8\.\d", r"se_\d+\.main\."),
        _NOISE,
    ),
    Relative(
        "a self-attention GAN (SAGAN) generator",
        (r"attn\d\.query_conv\.weight", r"l1\.\d"),
        _NOISE,
    ),
    Relative(
        "a DCGAN generator",
        (r"(main|net|layers|ngpu)\.0\.weight", r"(main|net|layers)\.1\.running_mean"),
        _NOISE,
        _begins_wide,
    ),
    Relative(
        "a DCGAN of PyTorch-GAN",
        (r"l1\.0\.weight", r"conv_blocks\.0\.running_mean", r"conv_blocks\.\d+\.weight"),
        _NOISE,
    ),
    Relative(
        "a network of fully connected layers alone",
        (r"(model|main|net)\.0\.weight", r"(model|main|net)\.\d+\.weight"),
        _NOISE,
        lambda state: all(t.ndim < 3 for t in state.values()),
    ),
    Relative(
        "a StyleGAN2 generator of lucidrains",
        (r"(GAN\.)?(G\.|GE\.)?blocks\.\d+\.to_style1\.weight",),
        "ganpress imports StyleGAN2 of rosinality and NVlabs, whose layers differ: it cannot be "
        "imported.",
    ),
    Relative(
        "an SNGAN generator of mimicry for more than 32 pixels",
        (r"l1\.weight", r"block5\.c1\.weight", r"c6\.weight"),
        _NOISE,
    ),
    Relative(
        "an SNGAN generator of other layers",
        (r"dense\.weight", r"model\.0\.conv1\.weight", r"final\.weight"),
        _NOISE,
    ),
    Relative(
        "a WGAN-GP generator",
        (r"preprocess\.0\.weight", r"deconv_out\.weight"),
        _NOISE,
    ),
)
