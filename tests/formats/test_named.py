"""A network that is not imported is named, with how far ganpress goes; its tensors are not listed.

Tensors are listed here as upstream's modules name them, in small sizes.
"""

from __future__ import annotations

import pickle
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from nets import Wiring, every_wiring
from test_nvlabs import as_objects, their_modules  # noqa: F401  (a fixture)

from ganpress.errors import CheckpointError, ConfigError, ExportError
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import KINDS, from_state, import_model
from ganpress.formats.importers.looks import how_far, looks_like
from ganpress.formats.importers.relatives import RELATIVES
from ganpress.types import State


def spelled(text: str) -> State:
    """Tensors from lines of 'name (shape)'; a name alone is a vector of 4."""
    state = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, shape = line.partition(" ")
        state[name] = torch.zeros([int(n) for n in shape.split()] or [4])
    return state


# what the message has to say, and tensors of a file
NAMED: dict[str, str] = {
    "pix2pixHD's local enhancer": """
        model.1.weight 8 3 7 7
        model.4.weight 16 8 3 3
        model.13.conv_block.1.weight 16 16 3 3
        model1_1.1.weight 4 3 7 7
        model1_2.0.conv_block.1.weight 8 8 3 3""",
    "StyleGAN3": """
        mapping.w_avg
        mapping.fc0.weight 4 4
        synthesis.input.freqs 4 2
        synthesis.L0_36_512.affine.weight 4 4""",
    "class-conditional StyleGAN2": """
        mapping.embed.weight 4 10
        mapping.fc0.weight 4 8
        synthesis.b4.const 4 4 4
        synthesis.b4.conv1.weight 4 4 3 3""",
    "GFPGAN": """
        conv_body_first.weight 4 3 1 1
        stylegan_decoder.style_conv1.modulated_conv.weight 1 4 4 3 3""",
    "StyleGAN or ProGAN": """
        progression.0.conv1.conv.weight_orig 4 4 3 3
        to_rgb.0.conv.weight_orig 3 4 1 1
        style.1.linear.weight_orig 4 4""",
    "StyleGAN generator of the first": """
        g_mapping.dense0.weight 4 4
        g_synthesis.blocks.4x4.const 1 4 4 4""",
    "ProGAN generator of pytorch_GAN_zoo": """
        formatLayer.module.weight 64 4
        scaleLayers.0.0.module.weight 4 4 3 3
        toRGBLayers.0.module.weight 3 4 1 1""",
    "a BigGAN generator": """
        shared.weight 10 4
        linear.weight 64 4
        linear.u0 1 64
        blocks.0.0.conv1.weight 4 4 3 3
        blocks.0.0.bn1.gain.weight 4 8""",
    "BigGAN generator of Hugging Face": """
        embeddings.weight 4 10
        generator.gen_z.weight_orig 64 8
        generator.layers.0.bn_0.scale.weight_orig 4 8""",
    "a BigGAN discriminator": """
        blocks.0.0.conv1.weight 4 3 3 3
        blocks.0.0.conv1.u0 1 4
        embed.weight 10 4
        embed.u0 1 10""",
    "lightweight GAN": """
        G.initial_conv.0.weight 8 16 4 4
        G.layers.0.0.1.weight 8 8 3 3
        G.out_conv.weight 3 4 3 3
        D.to_logits.0.weight 4 4 1 1""",
    "FastGAN": """
        init.init.0.weight_orig 8 16 4 4
        feat_8.1.weight_orig 8 8 3 3
        se_64.main.1.weight_orig 8 8 4 4""",
    "SAGAN": """
        l1.0.module.weight_bar 16 64 4 4
        attn1.query_conv.weight 4 8 1 1""",
    "a DCGAN generator": """
        main.0.weight 100 64 4 4
        main.1.weight 64
        main.1.running_mean 64
        main.3.weight 64 32 4 4""",
    "a DCGAN of PyTorch-GAN": """
        l1.0.weight 512 100
        conv_blocks.0.weight 8
        conv_blocks.0.running_mean 8
        conv_blocks.2.weight 8 8 3 3""",
    "fully connected": """
        model.0.weight 128 100
        model.2.weight 256 128
        model.3.running_mean 256""",
    "AnimeGANv2": """
        block_a.0.1.weight 4 3 7 7
        block_c.1.layers.0.1.weight 8 4 1 1
        out_layer.0.weight 3 4 1 1""",
    "AnimeGAN (a PyTorch port": """
        encode_blocks.0.conv.weight 4 3 3 3
        res_blocks.0.conv_block.conv.weight 8 4 1 1
        decode_blocks.0.conv.weight 4 4 3 3""",
    "U-GAT-IT": """
        DownBlock.1.weight 4 3 7 7
        gap_fc.weight 1 4
        conv1x1.weight 4 8 1 1
        UpBlock1_1.conv1.weight 4 4 3 3""",
    "a StarGAN generator": """
        main.0.weight 4 8 7 7
        main.1.running_mean
        main.9.main.0.weight 8 8 3 3""",
    "StarGAN v2": """
        from_rgb.weight 4 3 3 3
        decode.0.norm1.fc.weight 8 4
        to_rgb.2.weight 3 4 1 1""",
    "fast neural style": """
        conv1.conv2d.weight 4 3 9 9
        res1.conv1.conv2d.weight 4 4 3 3
        deconv1.conv2d.weight 4 4 3 3""",
    "AttentionGAN": """
        conv1.weight 4 3 7 7
        deconv1_content.weight 4 4 3 3
        deconv1_attention.weight 4 4 3 3""",
    "GANimation": """
        main.0.weight 4 20 7 7
        img_reg.0.weight 3 4 7 7
        attetion_reg.0.weight 1 4 7 7""",
    "vid2vid": """
        model_down_seg.1.weight 4 9 7 7
        model_final_img.1.weight 3 4 7 7""",
    "CodeFormer": """
        quantize.embedding.weight 8 4
        ft_layers.0.self_attn.in_proj_weight 12 4""",
    "SwinIR": """
        conv_first.weight 4 3 3 3
        layers.0.residual_group.blocks.0.attn.qkv.weight 12 4""",
    "RRDBNet": """
        conv_first.weight 4 3 3 3
        body.0.rdb1.conv1.weight 4 4 3 3""",
    "RRDBNet)": """
        model.0.weight 4 3 3 3
        model.1.sub.0.RDB1.conv1.0.weight 4 4 3 3""",
    "SRVGGNetCompact": """
        body.0.weight 4 3 3 3
        body.1.weight 4
        body.2.weight 4 4 3 3""",
    "an SRGAN or EDSR": """
        block1.0.weight 4 3 9 9
        block1.1.weight 1
        block2.conv1.weight 4 4 3 3""",
    "U-Net with attention gates": """
        Conv1.conv.0.weight 4 3 3 3
        Att5.W_g.0.weight 4 4 1 1
        Up5.up.1.weight 4 4 3 3""",
    "U-Net of a diffusion model": """
        time_embed.0.weight 4 4
        input_blocks.0.0.weight 4 3 3 3""",
    "latent diffusion model or VQGAN": """
        encoder.down.0.block.0.conv1.weight 4 4 3 3
        quant_conv.weight 4 4 1 1""",
    "U-Net for segmentation": """
        inc.double_conv.0.weight 4 3 3 3
        down1.maxpool_conv.1.double_conv.0.weight 4 4 3 3""",
    "EdgeConnect": """
        encoder.1.weight_orig 4 4 7 7
        encoder.1.weight_u 4
        middle.0.conv_block.1.weight_orig 4 4 3 3""",
    "LaMa": """
        model.1.ffc.convl2l.weight 4 4 7 7""",
    "SinGAN": """
        head.conv.weight 4 3 3 3
        body.block1.conv.weight 4 4 3 3""",
    "first-order motion": """
        first.conv.weight 4 3 7 7
        dense_motion_network.mask.weight 4 4 7 7
        bottleneck.r0.conv1.weight 4 4 3 3""",
    "SEAN": """
        fc.weight 8 4 3 3
        head_0.ace_0.blending_gamma 1
        head_0.conv_0.weight_orig 8 8 3 3""",
    "OASIS": """
        fc.weight 8 4 3 3
        conv_img.weight 3 4 3 3
        body.0.norm_0.mlp_shared.0.weight 8 4 3 3""",
    "anti-aliased PatchGAN": """
        model.0.weight 4 3 4 4
        model.2.filt 4 1 3 3""",
    "netF) of CUT": """
        mlp_0.0.weight 4 3
        mlp_0.2.weight 4 4""",
    "StyleGAN2 generator of lucidrains": """
        GAN.S.net.0.weight 4 4
        GAN.GE.initial_block 1 4 4 4
        GAN.GE.blocks.0.to_style1.weight 4 4""",
    "SNGAN generator of mimicry": """
        l1.weight 64 4
        block2.c1.weight 4 4 3 3
        block5.c1.weight 4 4 3 3
        b6.weight
        c6.weight 3 4 3 3""",
    "SNGAN generator of other layers": """
        dense.weight 64 4
        model.0.conv1.weight 4 4 3 3
        final.weight 3 4 3 3""",
    "WGAN-GP": """
        preprocess.0.weight 64 4
        block1.0.weight 4 4 2 2
        deconv_out.weight 4 3 2 2""",
    "UNIT": """
        a.enc.model.0.conv.weight 4 3 7 7
        a.dec.model.0.model.0.model.0.conv.weight 4 4 3 3""",
    "FUNIT": """
        gen.enc_class_model.model.0.conv.weight 4 3 7 7
        gen.enc_content.model.0.conv.weight 4 3 7 7
        gen.dec.model.0.model.0.model.0.conv.weight 4 4 3 3""",
    "DRIT": """
        decA1.0.conv1.0.weight 4 4 3 3
        decA4.model.0.weight 4 4 3 3""",
    "DeOldify": """
        layers.0.0.weight 64 3 7 7
        layers.4.shuf.conv.0.weight_orig 8 8 1 1
        layers.10.0.weight_orig 3 8 1 1""",
    "White-box Cartoonization": """
        conv.weight 4 3 7 7
        conv_1.weight 4 4 3 3
        block_0.conv.weight 4 4 3 3
        block_0.conv_1.weight 4 4 3 3""",
    "DeblurGAN-v2": """
        fpn.td1.0.weight 4 4 3 3
        fpn.lateral4.weight 4 4 1 1
        head1.block0.weight 4 4 3 3""",
    "fast neural style network of other layers": """
        ConvBlock.0.conv_layer.weight 4 3 9 9
        ResidualBlock.0.conv1.conv_layer.weight 4 4 3 3
        DeconvBlock.0.conv_transpose.weight 4 4 3 3""",
    "CycleGAN generator as tutorials": """
        initial.0.weight 4 3 7 7
        down_blocks.0.conv.0.weight 8 4 3 3
        res_blocks.0.block.0.conv.0.weight 8 8 3 3
        last.weight 3 4 7 7""",
    "pix2pix U-Net as tutorials": """
        initial_down.0.weight 4 3 4 4
        down1.conv.0.weight 8 4 4 4
        bottleneck.0.weight 8 8 4 4
        final_up.0.weight 8 3 4 4""",
    "colourisation network": """
        model1.0.weight 4 1 3 3
        model8.0.weight 4 4 4 4
        model_out.weight 2 313 1 1""",
    "pix2pixHD's discriminator": """
        scale0_layer0.0.weight 4 6 4 4
        scale1_layer0.0.weight 4 6 4 4""",
}


@pytest.mark.parametrize("what", NAMED)
def test_a_file_that_is_not_imported_is_named_with_how_far_ganpress_goes(what: str) -> None:
    state = spelled(NAMED[what])
    for kind in ("auto", "cyclegan", "stylegan2-nvlabs"):
        with pytest.raises(CheckpointError) as caught:
            from_state(kind, state, source="theirs.pth")
        message = str(caught.value)
        assert re.match(rf"theirs\.pth looks like .*{re.escape(what)}", message)
        assert str(how_far(state)) in message
        assert "first tensors" not in message
        assert len(message) < 400


def test_every_entry_is_found_by_its_own_layout_and_says_how_far() -> None:
    found = {str(looks_like(spelled(text))[0]) for text in NAMED.values()}
    assert found == {relative.what for relative in RELATIVES}
    for relative in RELATIVES:
        assert relative.far.endswith(".")
        kinds = re.findall(r"kind '([\w-]+)'", relative.far)
        assert set(kinds) <= set(KINDS)


@every_wiring
def test_a_network_that_is_imported_is_not_taken_for_another(wiring: Wiring) -> None:
    """Under its own names and every code base's, with plain weights or before a spectral norm."""
    model = wiring.model()
    states = [model.net.state_dict()]
    for layouts in LAYOUTS.values():
        if wiring.name in layouts:
            with suppress(ConfigError, ExportError):  # this code base has no such class
                states.append(layouts[wiring.name][1](model))
    for state in states:
        assert how_far(state) is None
        normed = {
            f"{n}_orig" if t.ndim == 4 and n.endswith("weight") else n: t for n, t in state.items()
        }
        assert how_far(normed) is None


def test_named_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"g_ema": spelled(NAMED["a DCGAN generator"])}, tmp_path / "netG.pth")
    told = run_cli(
        capsys, "import", "auto", tmp_path / "netG.pth", "-o", tmp_path / "x.safetensors"
    )
    assert told.code == 2
    assert "netG.pth looks like a DCGAN generator. Of the networks that read noise" in told.err
    assert not (tmp_path / "x.safetensors").exists()


def test_a_pickle_of_stylegan3_is_named_though_it_holds_arrays(
    tmp_path: Path,
    their_modules: None,  # noqa: F811
) -> None:
    net = as_objects(spelled(NAMED["StyleGAN3"]))
    net.state["size"] = np.broadcast_to(np.asarray([36]), [2])
    path = tmp_path / "stylegan3-t-ffhq.pkl"
    path.write_bytes(pickle.dumps({"G_ema": net, "training_set_kwargs": None}))
    with pytest.raises(CheckpointError, match="looks like a StyleGAN3 generator"):
        import_model("auto", path)
