"""Checkpoints as people save them: prefixes, dictionaries, and several generators in one file."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring
from thin import thinned
from torch import Tensor, nn

from ganpress.cli import app as cli
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import from_state, import_model, read_foreign
from ganpress.models.checkpoint import Model, load
from ganpress.types import State

# Wiring, the import kind and the target that writes its code base's names.
LAYOUT: dict[str, tuple[str, str]] = {
    "cyclegan instance": ("cyclegan", "pth-junyanz"),
    "cyclegan batch": ("cyclegan", "pth-junyanz"),
    "cyclegan separable": ("gan-compression", "pth-gan-compression"),
    "pix2pix": ("pix2pix", "pth-junyanz"),
    "cartoongan": ("cartoongan", "pth-cartoongan"),
    "gaugan": ("spade", "pth-nvlabs"),
    "munit": ("munit", "pth-nvlabs"),
    "sngan": ("sngan", "pth-sngan"),
    "stylegan2": ("stylegan2", "pth-rosinality"),
}
PREFIXES = (
    *("generator.", "netG.", "G.", "model.generator.", "module.", "_orig_mod.", "model."),
    *("netG._orig_mod.module.", "gan.model.G_A2B.", "_forward_module.net.", "model.model."),
)
WRAPS: dict[str, Callable[[State], Any]] = {
    "lightning": lambda s: {
        "epoch": 3,
        "state_dict": {f"generator.{k}": v for k, v in s.items()} | patch("discriminator."),
        "hyper_parameters": {"lr": 0.1, "betas": (0.5, 0.9)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": []}],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0)}},
    },
    "lightning, wrapped": lambda s: {
        "state_dict": {f"model.netG.module.{k}": v for k, v in s.items()} | patch("model.netD.")
    },
    "G_ema": lambda s: {"G": other(s), "D": patch(), "G_ema": s},
    "g_ema": lambda s: {"g": other(s), "d": patch(), "g_ema": s, "latent_avg": torch.ones(8)},
    "params_ema": lambda s: {"params": other(s), "params_ema": s},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "ema beside model": lambda s: {"model": other(s), "ema": s, "opt": {"state": {"w": MOMENTS}}},
    "flat ema": lambda s: {
        **{f"online_model.{k}": v for k, v in other(s).items()},
        **{f"ema_model.{k}": v for k, v in s.items()},
        **{"initted": torch.tensor(True), "step": torch.tensor(7)},
    },
    "averaged model": lambda s: (
        {"n_averaged": torch.tensor(3)} | {f"module.{k}": v for k, v in s.items()}
    ),
    "beside a loss's VGG": lambda s: {
        **{f"net.{k}": v for k, v in s.items()},
        **{f"vgg.features.{i}.weight": torch.ones(2, 2, 3, 3) for i in (0, 2, 5)},
    },
    "list of networks": lambda s: {"nets": [s], "epoch": 2},
    "compiled in parts": lambda s: {k.replace(".", "._orig_mod.", 1): v for k, v in s.items()},
}
MOMENTS = {"exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(2, 2), "step": torch.ones(())}


def patch(prefix: str = "", seed: int = 5) -> State:
    """Names and shapes of a PatchGAN as junyanz's code writes them, two layers."""
    torch.manual_seed(seed)
    shapes = {
        "model.0.weight": (4, 3, 4, 4),
        "model.0.bias": (4,),
        "model.2.weight": (8, 4, 4, 4),
        "model.2.bias": (8,),
        "model.5.weight": (16, 8, 4, 4),
        "model.5.bias": (16,),
        "model.8.weight": (1, 16, 4, 4),
        "model.8.bias": (1,),
    }
    return {f"{prefix}{name}": torch.randn(shape) for name, shape in shapes.items()}


def other(state: State) -> State:
    """Other values of the same names and shapes."""
    return {n: t + 1 if t.is_floating_point() else t for n, t in state.items()}


def theirs(name: str) -> State:
    """A tiny generator's tensors by its code base's names."""
    model = Wiring.model(WIRINGS[name])
    _, state_of = LAYOUTS[LAYOUT[name][1]][model.family.name]
    return {n: t.detach().clone() for n, t in state_of(model).items()}


def assert_same(found: Model, wanted: Model) -> None:
    ours, want = found.net.state_dict(), wanted.net.state_dict()
    assert ours.keys() == want.keys()
    assert all(torch.equal(ours[n], want[n]) for n in want)


def saved(folder: Path, obj: object) -> Path:
    torch.save(obj, folder / "net.pth")
    return folder / "net.pth"


@pytest.mark.parametrize("name", LAYOUT)
def test_a_generator_is_found_below_any_prefix(name: str) -> None:
    state, kind = theirs(name), LAYOUT[name][0]
    wanted = from_state(kind, state)
    for i, prefix in enumerate(PREFIXES):
        given = {f"{prefix}{k}": v for k, v in state.items()}
        found = from_state(kind if i % 2 else "auto", given)
        assert found.provenance["kind"] == kind, prefix
        assert_same(found, wanted)


@pytest.mark.parametrize(
    ("name", "wrap"),
    thinned(
        [(name, wrap) for name in LAYOUT for wrap in WRAPS],
        lambda pair: pair[0] == "cyclegan instance" or pair[1] == "lightning",
    ),
)
def test_a_generator_is_found_in_any_dictionary(name: str, wrap: str, tmp_path: Path) -> None:
    state, kind = theirs(name), LAYOUT[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a PatchGAN is not every family's discriminator
        found = import_model(kind, saved(tmp_path, WRAPS[wrap](state)))
    assert_same(found, from_state(kind, state))


def cyclegan(seed: int) -> State:
    """A ResNet generator's tensors, which differ with the seed."""
    model = WIRINGS["cyclegan instance"].model(seed)
    return LAYOUTS["pth-junyanz"]["cyclegan"][1](model)


A2B, B2A = cyclegan(1), cyclegan(2)
TWO: dict[str, Any] = {
    "dictionaries": {
        **{"G_A2B": A2B, "G_B2A": B2A, "D_A": patch(seed=1), "D_B": patch(seed=2)},
        "optimizer": {"state": {0: MOMENTS}},
    },
    "flat": {
        **{f"G_A2B.{k}": v for k, v in A2B.items()},
        **{f"G_B2A.{k}": v for k, v in B2A.items()},
        **patch("D_A.", 1),
        **patch("D_B.", 2),
    },
    "lightning": {
        "state_dict": {
            **{f"nets.G_A2B.module.{k}": v for k, v in A2B.items()},
            **{f"nets.G_B2A.module.{k}": v for k, v in B2A.items()},
            **patch("nets.D_A.module.", 1),
            **patch("nets.D_B.module.", 2),
        }
    },
    "dictionaries of dictionaries": {
        "models": {"G_A2B": {"net": A2B}, "G_B2A": {"net": B2A}},
        "judges": {"D_A": patch(seed=1), "D_B": patch(seed=2)},
    },
}


@pytest.mark.parametrize("how", TWO)
def test_a_file_of_two_generators_lists_them_and_gives_the_one_asked_for(
    how: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, TWO[how])
    with pytest.raises(CheckpointError) as caught:
        import_model("auto", path)
    said = str(caught.value)
    for name in ("G_A2B", "G_B2A", "D_A", "D_B"):
        assert name in said
    assert said.count("a ResNet generator of CycleGAN") == 2
    assert said.count("a PatchGAN discriminator") == 2
    advised = re.search(r"--entry (\S+) ", said)
    assert advised is not None
    assert_same(import_model("auto", path, entry=advised[1]), from_state("cyclegan", A2B))
    for name, state, judge in (("G_A2B", A2B, 2), ("G_B2A", B2A, 1)):
        found = import_model("cyclegan", path, entry=name)
        assert_same(found, from_state("cyclegan", state))
        assert name in found.provenance["entry"]
        assert found.discriminator is not None  # the one of the domain that the generator ends in
        own = found.discriminator.net.state_dict().values()
        assert all(any(torch.equal(t, w) for t in own) for w in patch(seed=judge).values())


@pytest.mark.parametrize("how", TWO)
def test_an_unknown_entry_is_refused_with_the_nearest_and_the_list(
    how: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, TWO[how])
    with pytest.raises(
        ConfigError, match=r"no entry 'G_A2C' \(did you mean '[\w.]*G_A2B[\w.]*'\?\)"
    ):
        import_model("auto", path, entry="G_A2C")
    with pytest.raises(ConfigError, match=r"It holds '.*G_A2B.*' \(a ResNet generator"):
        import_model("auto", path, entry="strange")
    with pytest.raises(CheckpointError, match=r"discriminator.*Import its generator"):
        import_model("auto", path, entry="D_A")


def test_an_entry_of_a_file_without_names_is_refused(tmp_path: Path) -> None:
    for entry in ("G", "model"):  # a part of the network's own names is none either
        with pytest.raises(ConfigError, match=f"without a name: leave the entry '{entry}' out"):
            import_model("auto", saved(tmp_path, A2B), entry=entry)


def test_raw_weights_are_taken_in_place_of_averaged_ones_where_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, {"G": A2B, "G_ema": B2A})
    assert_same(import_model("auto", path), from_state("cyclegan", B2A))
    assert_same(import_model("auto", path, entry="G"), from_state("cyclegan", A2B))
    assert_same(import_model("auto", path, entry="G_ema"), from_state("cyclegan", B2A))


def test_an_entry_may_name_a_dictionary_with_one_generator_in_it(tmp_path: Path) -> None:
    both = {"raw": {"G": A2B, "D": patch()}, "best": {"G": B2A, "D": patch()}}
    path = saved(tmp_path, both)
    assert_same(import_model("auto", path, entry="best"), from_state("cyclegan", B2A))
    assert_same(import_model("auto", path, entry="raw.G"), from_state("cyclegan", A2B))
    with pytest.raises(CheckpointError, match="several sets of weights"):
        import_model("auto", path, entry="G")


def test_the_kind_asked_for_chooses_among_generators_of_several_kinds(tmp_path: Path) -> None:
    unet = theirs("pix2pix")
    path = saved(tmp_path, {"first": A2B, "second": unet})
    assert_same(import_model("cyclegan", path), from_state("cyclegan", A2B))
    assert_same(import_model("pix2pix", path), from_state("pix2pix", unet))
    with pytest.raises(CheckpointError, match=r"'first' .*ResNet.*'second' .*U-Net"):
        import_model("auto", path)


def test_networks_that_nothing_recognises_are_listed_by_their_first_tensors(
    tmp_path: Path,
) -> None:
    strange = {"inner.weight": torch.ones(2, 2)}
    path = saved(tmp_path, {"first": strange, "second": strange})
    with pytest.raises(CheckpointError, match=r"several sets.*first tensors are inner\.weight"):
        read_foreign(path)
    for beside in ({"netD": strange}, {"opt": {"state": {"w": MOMENTS}}}, {"opt": {0: strange}}):
        path = saved(tmp_path, {"netG": strange, **beside})
        assert read_foreign(path).keys() == strange.keys()


def test_a_file_of_discriminators_is_said_to_hold_no_generator(tmp_path: Path) -> None:
    path = saved(tmp_path, {"D_A": patch(seed=1), "D_B": patch(seed=2)})
    with pytest.raises(
        CheckpointError, match=r"holds no generator, but 'D_A' .*PatchGAN"
    ) as caught:
        import_model("auto", path)
    assert "--entry" not in str(caught.value)
    generator = tmp_path / "G_AB.pth"
    torch.save({"G_AtoB": A2B}, generator)
    found = import_model("auto", generator, discriminator=path).discriminator
    assert found is not None
    own = list(found.net.state_dict().values())
    assert all(any(torch.equal(t, w) for t in own) for w in patch(seed=2).values())
    torch.save(A2B, generator)
    with pytest.raises(CheckpointError, match="several discriminators"):
        import_model("auto", generator, discriminator=path)


def test_a_discriminator_that_does_not_belong_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = saved(tmp_path, {"G": theirs("cartoongan"), "D": patch()})
    assert import_model("auto", path).discriminator is None  # the kind has none: nothing to say
    path = saved(tmp_path, {"G": A2B, "D": {"strange.weight": torch.ones(2, 2)}})
    with pytest.warns(UserWarning, match=r"its discriminator was left out.*--discriminator"):
        assert import_model("auto", path).discriminator is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda s: s, "model.4.weight"),
        (lambda s: {f"netG.module.{k}": v for k, v in s.items()}, "netG.module.model.4.weight"),
        (
            lambda s: {"state_dict": {f"G.{k}": v for k, v in s.items()} | patch("D.")},
            r"G.model.4.weight (in state_dict)",
        ),
    ],
)
def test_weights_that_are_not_finite_are_named_by_the_file_s_key(
    wrap: Callable[[State], Any], key: str, value: float, tmp_path: Path
) -> None:
    state: dict[str, Tensor] = {n: t.double() for n, t in A2B.items()}
    state["model.4.weight"][0, 0, 0, 0] = value
    path = saved(tmp_path, wrap(state))
    with pytest.raises(CheckpointError, match=re.escape(f"1 not finite: {key}. ")):
        import_model("auto", path)


def test_statistics_that_nothing_reads_may_be_not_finite() -> None:
    state = dict(A2B)
    state["model.2.running_mean"] = torch.full((5,), float("nan"))
    state["model.2.running_var"] = torch.ones(5)
    assert_same(from_state("cyclegan", state), from_state("cyclegan", A2B))


def test_a_wrapped_resnet_is_not_taken_for_a_u_net_beside_other_networks(tmp_path: Path) -> None:
    wrapped = {f"model.{k}": v for k, v in A2B.items()}
    vgg = {f"loss.vgg.features.{i}.weight": torch.ones(2, 2, 3, 3) for i in (0, 2, 5)}
    path = saved(tmp_path, {"state_dict": {**wrapped, **vgg, **patch("judge.")}})
    assert_same(import_model("auto", path), from_state("cyclegan", A2B))


def test_a_module_s_own_state_dict_loads_through_wrappers(tmp_path: Path) -> None:
    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = nn.DataParallel(WIRINGS["pix2pix"].net())

    inner = theirs("pix2pix")
    assert all(k.startswith("generator.module.") for k in Lit().state_dict())
    wrapped = {"state_dict": {f"generator.module.{k}": v for k, v in inner.items()}}
    assert_same(import_model("auto", saved(tmp_path, wrapped)), from_state("pix2pix", inner))


def run(*arguments: object) -> int:
    sys.argv = ["ganpress", *map(str, arguments)]
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_the_command_line_takes_an_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    path, out = saved(tmp_path, TWO["flat"]), tmp_path / "out.safetensors"
    assert run("import", "auto", path, "-o", out) == 2
    assert "--entry G_A2B" in capsys.readouterr().err.replace("\n", " ")
    assert not out.exists()
    assert run("import", "auto", path, "-o", out, "--entry", "G_B2A") == 0
    said = capsys.readouterr()
    assert "cyclegan of 'G_B2A'" in said.out and said.err == ""
    assert_same(load(out), from_state("cyclegan", B2A))
    assert run("import", "auto", path, "-o", out, "--option", "entry=G_B2A") == 2
    assert "'entry' is no --option" in capsys.readouterr().err
