"""Networks of the field that ganpress does not import, by the names of their tensors.

So that the message says what a file looks like and how far ganpress goes with it, in place of a
list of tensors. Patterns are matched from the beginning of a name; all of an entry's must be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ganpress.formats.importers.relative import Relative
from ganpress.formats.importers.relatives_of_noise import OF_NOISE
from ganpress.types import State

_NO_FAMILY = "ganpress has no family of that wiring: it cannot be imported or compressed."
_PICTURE = (
    "Of the networks that read pictures, ganpress has the ResNets and U-Nets that 'ganpress kinds' "
    "lists: this one cannot be imported."
)


def _kernel(pattern: str, size: int) -> Callable[[State], bool]:
    """A test: a tensor of such a name is a convolution's weight with a square kernel of this
    size."""
    return lambda state: any(
        tuple(t.shape[2:]) == (size, size) for n, t in state.items() if re.fullmatch(pattern, n)
    )


RELATIVES: tuple[Relative, ...] = (
    Relative(
        "pix2pixHD's local enhancer (netG local)",
        (r"model1_1\.\d", r"model1_2\.\d", r"model\.\d"),
        "ganpress imports pix2pixHD's global generator (netG global), whose training comes before "
        "the enhancer's: import that file. The enhancer itself cannot be imported.",
    ),
    *OF_NOISE,
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
        "UNIT, MUNIT's predecessor with one code",
        (r"([ab]\.)?enc\.model\.0\.conv\.weight", r"([ab]\.)?dec\.model\.\d"),
        "ganpress imports MUNIT of the same code base, whose content and style are apart: it "
        "cannot be imported.",
    ),
    Relative(
        "FUNIT, which reads pictures of the wanted class",
        (r"(gen(_test)?\.)?enc_class_model\.",),
        _PICTURE,
    ),
    Relative(
        "DRIT, whose content and attributes have encoders of their own",
        (r"(gen\.)?dec[AB]1\.",),
        _PICTURE,
    ),
    Relative(
        "DeOldify, or another U-Net of fastai",
        (r"layers\.0\.0\.weight", r"layers\.\d+\.shuf\.conv\."),
        _PICTURE,
    ),
    Relative(
        "White-box Cartoonization",
        (r"block_0\.conv_1\.weight", r"conv_1\.weight"),
        "Its U-Net of residual blocks is no family of ganpress: it cannot be imported. 'ganpress "
        "train cartoongan' trains a generator for the same task.",
    ),
    Relative(
        "DeblurGAN-v2",
        (r"fpn\.(lateral4|td1)\.",),
        "Its feature pyramid is no family of ganpress: it cannot be imported. The ResNets of "
        "DeblurGAN's first version have CycleGAN's names, but add the photo to what they make.",
    ),
    Relative(
        "a fast neural style network of other layers",
        (r"ConvBlock\.0\.conv_layer\.", r"DeconvBlock\.0\."),
        _PICTURE,
    ),
    Relative(
        "a CycleGAN generator as tutorials write it",
        (r"initial(_down)?\.0\.weight", r"res_blocks\.0\.block\.0\.conv\.", r"last\.weight"),
        _PICTURE,
    ),
    Relative(
        "a pix2pix U-Net as tutorials write it",
        (r"initial_down\.0\.weight", r"bottleneck\.0\.weight", r"final_up\.0\.weight"),
        _PICTURE,
    ),
    Relative(
        "a colourisation network that tells the classes of colours",
        (r"model1\.0\.weight", r"model8\.0\.weight"),
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
        (
            r"inc\.(double_conv|conv)\.|down1\.maxpool_conv\.1\.|encoder1\.enc1conv1\.|segmentation_head\.0\.",
        ),
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
