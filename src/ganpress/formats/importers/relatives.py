"""Networks of the field that ganpress does not import, by the names of their tensors.

So that the message says what a file looks like and how far ganpress goes with it, in place of a
list of tensors. Patterns are matched from the beginning of a name; all of an entry's must be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ganpress.types import State


@dataclass(frozen=True)
class Relative:
    """A network that is named but not imported.

    Attributes:
        what: its name in words, with an article.
        signs: regular expressions, each of which some tensor's name has to match.
        far: how far ganpress goes; a sentence or two for the message.
        also: what else must hold of the tensors (their shapes).
    """

    what: str
    signs: tuple[str, ...]
    far: str
    also: Callable[[State], bool] = lambda state: True


_NO_FAMILY = "ganpress has no family of that wiring: it cannot be imported or compressed."
_NOISE = (
    "Of the networks that read noise, ganpress has SNGAN (CIFAR-10's ResNet) and StyleGAN2: this "
    "one cannot be imported."
)
_PICTURE = (
    "Of the networks that read pictures, ganpress has the ResNets and U-Nets that 'ganpress kinds' "
    "lists: this one cannot be imported."
)
_CLASSES = (
    "ganpress's StyleGAN2 reads z alone: a network that reads a class cannot be imported. One that "
    "was trained without classes (cond=False) can."
)
_IS_DISCRIMINATOR = "Import its generator; this discriminator cannot be read beside it."


def _kernel(pattern: str, size: int) -> Callable[[State], bool]:
    """A test: a tensor of such a name is a convolution's weight with a square kernel of this
    size."""
    return lambda state: any(
        tuple(t.shape[2:]) == (size, size) for n, t in state.items() if re.fullmatch(pattern, n)
    )


def _begins_wide(state: State) -> bool:
    """Whether the first convolution turns a vector, of more numbers than a picture has channels,
    into a map: a transposed one of 4x4."""
    first = r"(main|net|layers)\.0\.weight"
    weights = [t for n, t in state.items() if re.fullmatch(first, n)]
    return any(tuple(t.shape[2:]) == (4, 4) and t.shape[0] > 4 < t.shape[1] for t in weights)


RELATIVES: tuple[Relative, ...] = (
    Relative(
        "pix2pixHD's local enhancer (netG local)",
        (r"model1_1\.\d", r"model1_2\.\d", r"model\.\d"),
        "ganpress imports pix2pixHD's global generator (netG global), whose training comes before "
        "the enhancer's: import that file. The enhancer itself cannot be imported.",
    ),
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
        "AnimeGANv2 (or its face models)",
        (r"block_a\.0\.1\.weight", r"block_c\.1\.layers\.", r"out_layer\.0\.weight"),
        "Its inverted residual blocks and LayerNorms are no family of ganpress: it cannot be "
        "imported. 'ganpress train cartoongan' trains a generator for the same task.",
    ),
    Relative(
        "AnimeGAN (a PyTorch port of the first version)",
        (r"encode_blocks\.\d", r"decode_blocks\.\d", r"res_blocks\.\d"),
        "Its inverted residual blocks are no family of ganpress: it cannot be imported. "
        "'ganpress train cartoongan' trains a generator for the same task.",
    ),
    Relative(
        "U-GAT-IT (or Photo2Cartoon, made from it)",
        (r"gap_fc\.weight", r"(UpBlock1_1|decodeBlock|DecodeBlock)\w*\.", r"conv1x1\.weight"),
        "Its class activation maps and adaptive layer-instance norms are no family of ganpress: "
        "it cannot be imported.",
    ),
    Relative(
        "a StarGAN generator",
        (r"main\.0\.weight", r"main\.\d+\.main\.0\.weight"),
        "It reads the wanted domain beside the picture; ganpress's ResNets read a picture alone: "
        "it cannot be imported.",
    ),
    Relative(
        "a StarGAN v2 generator",
        (r"from_rgb\.weight", r"decode\.\d+\.norm1\.fc\.", r"to_rgb\.\d"),
        "It reads a style code beside the picture, as ganpress's MUNIT does, by other layers: it "
        "cannot be imported.",
    ),
    Relative(
        "a fast neural style network (TransformerNet)",
        (r"conv1\.conv2d\.weight", r"res1\.conv1\.conv2d\.weight", r"deconv1\.conv2d\.weight"),
        "It reads and writes 0 to 255 without a tanh at the end; ganpress's ResNets end in one: "
        "it cannot be imported.",
    ),
    Relative(
        "AttentionGAN, a ResNet that makes attention maps beside its pictures",
        (r"deconv1_content\.", r"deconv1_attention\."),
        _PICTURE,
    ),
    Relative(
        "GANimation, which reads expressions beside the picture",
        (r"img_reg\.\d", r"attetion_reg\.\d|attention_reg\.\d"),
        _PICTURE,
    ),
    Relative(
        "vid2vid, which reads the frames before",
        (r"model_down_seg\.\d", r"model_final_img\.\d"),
        _PICTURE,
    ),
    Relative(
        "CodeFormer, a transformer over a codebook of faces",
        (r"quantize\.embedding\.weight", r"ft_layers\.\d"),
        "ganpress compresses convolutional generators: it cannot be imported.",
    ),
    Relative(
        "SwinIR, a transformer for restoration",
        (r"layers\.\d+\.residual_group\.blocks\.\d+\.attn\.",),
        "ganpress compresses convolutional generators: it cannot be imported.",
    ),
    Relative(
        "ESRGAN or Real-ESRGAN (RRDBNet), a network for super-resolution",
        (r"(body\.0\.rdb1|RRDB_trunk\.0\.RDB1|model\.1\.sub\.0\.RDB1)\.conv1\.",),
        "Its pictures are larger than what it reads, which no family of ganpress does: it cannot "
        "be imported.",
    ),
    Relative(
        "Real-ESRGAN's compact network (SRVGGNetCompact)",
        (r"body\.0\.weight", r"body\.1\.weight", r"body\.2\.weight"),
        "Its pictures are larger than what it reads, which no family of ganpress does: it cannot "
        "be imported.",
        lambda state: {name.split(".")[0] for name in state} == {"body"},
    ),
    Relative(
        "an SRGAN or EDSR network for super-resolution",
        (
            r"(block1\.0|conv1\.0|conv_first|head\.0|sub_mean)\.(weight|bias)",
            r"(block2\.conv1|res_blocks\.0\.conv_block|body\.0\.(body|conv1|res)|residual\.0)\W",
        ),
        "Its pictures are larger than what it reads, which no family of ganpress does: it cannot "
        "be imported.",
    ),
    Relative(
        "a U-Net with attention gates",
        (r"(\w+\.)*[Aa]tt(ention)?_?\d*\.(W_g|W_x|psi|theta|phi)\.",),
        "ganpress's U-Net is pix2pix's, without attention: it cannot be imported.",
    ),
    Relative(
        "a U-Net of a diffusion model",
        (
            r"(model\.diffusion_model\.)?(input_blocks\.\d+\.\d|down_blocks\.\d+\.resnets\.\d)\.",
            r"(model\.diffusion_model\.)?(time_embed|time_embedding)\.",
        ),
        "ganpress compresses GAN generators, which make a picture in one pass: it cannot be "
        "imported.",
    ),
    Relative(
        "an autoencoder of a latent diffusion model or VQGAN",
        (r"(first_stage_model\.)?encoder\.(down|down_blocks)\.\d", r"(\w+\.)?(post_)?quant_conv\."),
        _NO_FAMILY,
    ),
    Relative(
        "a plain U-Net for segmentation",
        (r"inc\.(double_conv|conv)\.|down1\.maxpool_conv\.1\.|encoder1\.enc1conv1\.",),
        _PICTURE,
    ),
    Relative(
        "EdgeConnect's inpainting network",
        (r"(generator\.)?encoder\.1\.weight", r"(generator\.)?middle\.0\.conv_block\.1\."),
        "Its dilated residual blocks are no family of ganpress: it cannot be imported.",
    ),
    Relative(
        "LaMa, an inpainting network with Fourier convolutions",
        (r"(generator\.)?model\.\d+\.(conv1\.)?ffc\.convl2l\.",),
        _NO_FAMILY,
    ),
    Relative(
        "SinGAN or ConSinGAN, a pyramid of small generators",
        (r"(\d+\.)?head\.conv\.weight", r"(\d+\.)?body\.block1\.conv\.weight"),
        _NO_FAMILY,
    ),
    Relative(
        "a first-order motion model",
        (r"(generator\.)?dense_motion_network\.", r"(generator\.)?bottleneck\.r0\."),
        "It moves a picture by keypoints of a video: it cannot be imported.",
    ),
    Relative(
        "SEAN or another SPADE with per-region styles",
        (r"(head_0|up_0)\.ace_0\.",),
        "ganpress imports SPADE (GauGAN) itself, which reads label maps alone: this one cannot be "
        "imported.",
    ),
    Relative(
        "OASIS, a SPADE network that reads noise beside the label map",
        (r"body\.0\.norm_0\.mlp_shared\.", r"conv_img\.weight"),
        "ganpress imports SPADE (GauGAN) of NVlabs, which reads the label map alone: this one "
        "cannot be imported.",
    ),
    Relative(
        "an anti-aliased PatchGAN discriminator of CUT",
        (r"model\.0\.weight", r"model\.\d+\.filt"),
        "Import its generator (kind 'cut'); the discriminator cannot be read beside it.",
        _kernel(r"model\.0\.weight", 4),
    ),
    Relative(
        "a feature projection (netF) of CUT",
        (r"mlp_\d+\.0\.weight",),
        "Only training needs it: import the generator (latest_net_G.pth, kind 'cut').",
    ),
    Relative(
        "pix2pixHD's discriminator",
        (r"scale\d+_layer\d+\.\d|layer\d\.\d+\.weight",),
        "Import its generator (kind 'pix2pixhd'); the discriminator cannot be read beside it.",
        _kernel(r"(scale0_layer0|layer0)\.0\.weight", 4),
    ),
)


def relative_of(state: State) -> Relative | None:
    """The first entry all of whose signs are among the tensors' names, or None."""
    for relative in RELATIVES:
        signs = (re.compile(sign) for sign in relative.signs)
        if all(any(map(sign.match, state)) for sign in signs) and relative.also(state):
            return relative
    return None
