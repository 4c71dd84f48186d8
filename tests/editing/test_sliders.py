"""Frames of edits: what they show, how large they are, and the commands that make them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS, Wiring, photos, random_indices
from PIL import Image

from ganpress.channels.take import shrink
from ganpress.editing.direction_file import load_directions, save_directions
from ganpress.editing.directions import find_directions, move
from ganpress.editing.latent_file import Latent, save_latent
from ganpress.editing.latents import latent_space
from ganpress.editing.slider_page import make_sliders
from ganpress.editing.sliders import SliderSettings, alone, in_page, side_by_side, write_sliders
from ganpress.editing.subjects import Subject, code_of, drawn_subjects, projected_subjects
from ganpress.editing.transfer import transfer
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model, fingerprint, save
from ganpress.report.sliders import read_sliders
from ganpress.run.settings import checked
from ganpress.types.pictures import as_rgb

STYLEGAN2 = WIRINGS["stylegan2"]
FEW = SliderSettings(steps=1, strength=2.0, quality=95)
FOUND = {"count": 2, "samples": 100}


def small_student(wiring: Wiring = STYLEGAN2) -> Model:
    model = wiring.model()
    small = shrink(wiring.build, model.net, random_indices(model.net, 3)).eval()
    return Model(small, model.family, model.options)


def sheet(folder: Path, number: int, side: int) -> Any:
    """(rows, columns, side, side, 3) of a sheet."""
    with Image.open(folder / f"direction-0{number}.jpg") as picture:
        pixels = np.asarray(picture)
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return pixels.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)


def as_bytes(x: torch.Tensor) -> Any:
    pixels = ((as_rgb(x) + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).numpy()


def near(a: Any, b: Any, most: float = 4.0) -> bool:
    return float(np.abs(a.astype(float) - b.astype(float)).mean()) < most


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stylegan2", "sngan", "sngan conditional"])
def test_a_sheet_has_a_row_a_picture_and_network_and_a_column_a_strength(
    name: str, tmp_path: Path
) -> None:
    wiring = WIRINGS[name]
    teacher, student = wiring.model(), small_student(wiring)
    subjects = drawn_subjects(teacher, [3, 8])
    moved = transfer(find_directions(teacher, **FOUND), teacher, student)
    shown = side_by_side(teacher, student, moved, subjects)
    facts = json.loads(write_sliders(tmp_path, shown, subjects, FEW, moved=moved).read_text())
    side = facts["frame"][0]
    assert facts["frame"] == [teacher.size] * 2 and facts["strengths"] == [-2.0, 0.0, 2.0]
    assert [one["name"] for one in facts["networks"]] == ["Teacher", "Student"]
    assert facts["networks"][1]["fingerprint"] == fingerprint(student.net)
    for number in (1, 2):
        rows = sheet(tmp_path, number, side)
        for row, (subject, model, directions) in enumerate(
            (s, m, d)
            for s in subjects
            for m, d in ((teacher, moved.teacher), (student, moved.directions))
        ):
            space = latent_space(model)
            assert near(rows[row, 1], as_bytes(model(*subject.inputs))[0])
            for column, strength in enumerate(facts["strengths"]):
                code = move(space.codes(subject.inputs), directions, number - 1, strength)
                assert near(rows[row, column], as_bytes(space.pictures(code, subject.inputs))[0])
        assert not near(rows[0, 0], rows[0, 2], most=1.0)


def test_photos_translated_in_moved_styles_have_frames_in_whole_blocks(tmp_path: Path) -> None:
    model = WIRINGS["munit"].model()
    content, style = WIRINGS["munit"].inputs(1)
    subject = Subject("photo", (content[:, :, :20, :28], style))
    shown = alone(model, find_directions(model, **FOUND), [subject])
    write_sliders(tmp_path, shown, [subject], FEW)
    found = read_sliders(tmp_path)
    assert found and found.frame == (16, 32)  # of 20 x 28


def test_grey_pictures_are_shown_as_grey(tmp_path: Path) -> None:
    model = Wiring("stylegan2", {"out_channels": 1}).model()
    subjects = drawn_subjects(model, [0])
    write_sliders(tmp_path, alone(model, find_directions(model, **FOUND), subjects), subjects, FEW)
    rows = sheet(tmp_path, 1, 16).astype(int)
    assert np.abs(rows - rows.mean(-1, keepdims=True)).max() <= 2


def test_the_same_networks_make_the_same_frames(tmp_path: Path) -> None:
    model = STYLEGAN2.model()
    subjects = drawn_subjects(model, [0, 1])
    for name in ("a", "b"):
        shown = alone(model, find_directions(model, **FOUND), subjects)
        write_sliders(tmp_path / name, shown, subjects, FEW)
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert len(a) > 2
    assert a == b


def test_new_frames_take_the_place_of_old_ones_and_of_nothing_else(tmp_path: Path) -> None:
    model = STYLEGAN2.model()
    subjects = drawn_subjects(model, [0])
    (tmp_path / "strip.png").write_bytes(b"another's")
    for count in (3, 2):
        directions = find_directions(model, count=count, samples=100)
        write_sliders(tmp_path, alone(model, directions, subjects), subjects, FEW)
    names = {"direction-01.jpg", "direction-02.jpg", "sliders.json", "strip.png"}
    assert {file.name for file in tmp_path.iterdir()} == names


def test_frames_shrink_to_the_limit_and_the_page_says_their_size(tmp_path: Path) -> None:
    model = Wiring("stylegan2", {"size": 64, "most": 8}).model()
    subjects = drawn_subjects(model, [0])
    shown = alone(model, find_directions(model, **FOUND), subjects)

    def written(**changed: Any) -> tuple[list[int], int]:
        settings = FEW.model_copy(update=changed)
        facts = json.loads(write_sliders(tmp_path, shown, subjects, settings).read_text())
        sizes = [in_page((tmp_path / one["file"]).read_bytes()) for one in facts["directions"]]
        return facts["frame"], sum(sizes)

    frame, whole = written()
    assert frame == [64, 64]
    assert written(pixels=40)[0] == [40, 40]
    halved, size = written(max_mb=whole / 1e6 * 0.9)
    assert halved == [32, 32] and size < whole * 0.9
    assert written(max_mb=whole / 1e6)[0] == [64, 64]
    with pytest.raises(
        ConfigError, match=r"MB at 16 pixels, and max_mb is 0\.0001: .*--max-mb 0\.1"
    ):
        written(max_mb=1e-4)


def test_base64_takes_four_bytes_for_three(tmp_path: Path) -> None:
    assert [in_page(bytes(n)) for n in (0, 1, 3, 4)] == [0, 4, 4, 8]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps: .*greater than or equal to 1"),
        ({"strength": 0.0}, "strength: .*greater than 0"),
        ({"pixels": 30}, "pixels: .*multiple of 8"),
        ({"quality": 96}, "quality: .*less than or equal to 95"),
        ({"max_mb": 0}, "max_mb: .*greater than 0"),
    ],
)
def test_settings_of_sliders_out_of_range_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(SliderSettings, changed)


# --- what they start from -------------------------------------------------------------------------


def test_truncation_moves_the_start_towards_the_mean_of_w() -> None:
    model = STYLEGAN2.model()
    space, subject = latent_space(model), drawn_subjects(model, [4])[0]
    net: Any = model.net
    mean = net.mean_w(generator=torch.Generator().manual_seed(0))
    w = net.mapping(subject.inputs[0]).detach()
    torch.testing.assert_close(code_of(space, subject, 0.25), mean + 0.25 * (w - mean))
    assert torch.equal(code_of(space, subject), w)
    projected = replace(subject, code=torch.ones(1, 6, 8))
    assert torch.equal(code_of(space, projected, 0.25), torch.ones(1, 6, 8))


def test_a_network_without_truncation_says_so() -> None:
    model = WIRINGS["sngan"].model()
    subjects = drawn_subjects(model, [0])
    with pytest.raises(ConfigError, match="'sngan' generator has no truncation"):
        alone(model, find_directions(model, **FOUND), subjects, psi=0.5)


def test_seeds_make_the_pictures_that_the_network_makes_of_them() -> None:
    model = STYLEGAN2.model()
    first, again, other = drawn_subjects(model, [1, 1, 2])
    assert [s.name for s in (first, other)] == ["seed 1", "seed 2"]
    assert all(torch.equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))
    assert not torch.equal(first.inputs[0], other.inputs[0])
    with pytest.raises(ConfigError, match="no seeds"):
        drawn_subjects(model, [])


def test_a_projected_code_goes_to_the_student_by_the_map_of_the_transfer() -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model()
    net: Any = student.net
    with torch.no_grad():
        net.mlp[1].bias.add_(3.0)
    moved = transfer(find_directions(teacher, **FOUND), teacher, student, samples=100)
    subject = replace(drawn_subjects(teacher, [0])[0], code=torch.randn(1, 6, 8))
    first, second = side_by_side(teacher, student, moved, [subject])
    assert torch.equal(first.codes[0], subject.code)  # type: ignore[arg-type]
    assert not torch.equal(second.codes[0], first.codes[0])
    expected = subject.code @ moved.map.matrix + moved.map.offset  # type: ignore[operator]
    torch.testing.assert_close(second.codes[0], expected)


def projected(model: Model, space: Any, row: torch.Tensor, path: Path) -> Path:
    """A file as `ganpress edit project` leaves it."""
    names, inputs = model.net.reads[1:], drawn_subjects(model, [9])[0].inputs[1:]  # type: ignore[union-attr,index]
    rest = dict(zip(names, inputs, strict=True))
    return save_latent(Latent(space, row, rest, fingerprint(model.net), path.stem), path)


@pytest.mark.parametrize("name", ["stylegan2", "sngan", "sngan conditional"])
def test_projected_photos_start_at_their_own_codes(name: str, tmp_path: Path) -> None:
    model = WIRINGS[name].model()
    net, space = model.net, latent_space(model)
    noise = drawn_subjects(model, [9])[0].inputs[1:]
    z = torch.randn(space.dim)
    rows: dict[str, torch.Tensor] = {"z": z}
    if name == "stylegan2":
        rows |= {"w": torch.randn(8), "w+": torch.randn(6, 8)}
    files = [projected(model, kind, row, tmp_path / f"{kind}.st") for kind, row in rows.items()]
    subjects = projected_subjects(model, files)
    assert [s.name for s in subjects] == list(rows)
    for subject, (kind, row) in zip(subjects, rows.items(), strict=True):
        made = space.pictures(code_of(space, subject), subject.inputs)
        any_net: Any = net
        run = any_net if kind == "z" else any_net.synthesis
        assert torch.equal(made, run(row[None], *noise).detach())
    with pytest.raises(ConfigError, match="a latent of another network"):
        projected_subjects(WIRINGS[name].model(seed=1), files)


# --- pages and runs -------------------------------------------------------------------------------


def test_directions_of_another_network_make_no_page(tmp_path: Path) -> None:
    model = STYLEGAN2.model()
    directions = find_directions(STYLEGAN2.model(seed=1), **FOUND)
    with pytest.raises(ConfigError, match="of another network"):
        make_sliders(model, page=tmp_path / "p.html", directions=directions, settings=FEW)
    assert list(tmp_path.iterdir()) == []


def a_run(root: Path, teacher: Model, student: Model | None) -> Path:
    """What of a run's folder its sliders look at."""
    root.mkdir()
    (root / "config.json").write_text('{"family": "stylegan2"}')
    (root / "card.json").write_text(json.dumps({"teacher": fingerprint(teacher.net)}))
    if student is not None:
        save(student, root / "student.safetensors")
    return root


def test_a_runs_report_gets_sliders_of_its_own_student(tmp_path: Path) -> None:
    teacher, student = STYLEGAN2.model(), small_student()
    root = a_run(tmp_path / "run", teacher, student)
    directions = find_directions(teacher, **FOUND)
    report = make_sliders(teacher, run=root, directions=directions, settings=FEW)
    assert report == root / "report.html" and report.read_text().count("<canvas") == 8
    found = read_sliders(root / "editing", root)
    assert found and found.networks == ["Teacher", "Student"] and not found.stale
    save(STYLEGAN2.model(seed=2), root / "student.safetensors")
    changed = read_sliders(root / "editing", root)
    assert changed and "Made of another student.safetensors" in changed.stale


def test_a_run_of_another_teacher_or_student_and_a_folder_that_is_none_are_refused(
    tmp_path: Path,
) -> None:
    teacher, other = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    root = a_run(tmp_path / "run", teacher, small_student())
    with pytest.raises(ConfigError, match="started with another teacher"):
        make_sliders(other, run=root)
    with pytest.raises(ConfigError, match="The student is not that of the run"):
        make_sliders(teacher, run=root, student=other)
    with pytest.raises(ConfigError, match="is not a run directory"):
        make_sliders(teacher, run=tmp_path)
    assert not (root / "editing").exists()
    for where in ({}, {"run": root, "page": tmp_path / "p.html"}):
        with pytest.raises(
            ConfigError, match=r"one of the two: a page .*\(-o\), or a run \(--run\)"
        ):
            make_sliders(teacher, **where)  # type: ignore[arg-type]


def test_a_run_without_a_student_shows_the_generator_alone(tmp_path: Path) -> None:
    teacher = STYLEGAN2.model()
    root = a_run(tmp_path / "run", teacher, None)
    make_sliders(teacher, run=root, directions=find_directions(teacher, **FOUND), settings=FEW)
    found = read_sliders(root / "editing", root)
    assert found and found.networks == ["Generator"]


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A teacher, its student, and a student whose mapping network was trained on."""
    save(STYLEGAN2.model(), tmp_path / "teacher.safetensors")
    student = small_student()
    save(student, tmp_path / "student.safetensors")
    net: Any = student.net
    with torch.no_grad():
        net.mlp[1].weight.mul_(1.1)
    save(student, tmp_path / "trained.safetensors")
    return tmp_path


def test_the_commands_find_transfer_and_show_directions(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    told = run_cli(
        capsys, "edit", "directions", "teacher.safetensors", "-o", "d.safetensors",
        "--count", 3, "--samples", 200, "--layers", "1-4",
    )  # fmt: skip
    assert told.code == 0 and "3 directions in w by pca; of the variance: " in told.out, told.err
    assert load_directions("d.safetensors").layers == (1, 4)

    refused = run_cli(
        capsys, "edit", "sliders", "trained.safetensors", "-d", "d.safetensors", "-o", "p.html"
    )
    assert refused.code == 2 and "fitted" in refused.err and not (home / "p.html").exists()
    advice = refused.err.partition("Transfer them: ganpress ")[2].strip().split()
    names = {"MODEL": "trained.safetensors", "NEW": "new.safetensors"}
    told = run_cli(capsys, *(names.get(word, word) for word in advice), "--samples", 200)
    assert told.code == 0 and told.err == "", told.err
    assert "fitted on 200 pairs of codes, which leaves" in told.out
    assert "cosine of the changes by 2 standard deviations, 16 pictures: in features" in told.out

    for more in (["-d", "new.safetensors"], ["--by", "sefa", "--count", "2", "--layers", "3"]):
        told = run_cli(
            capsys, "edit", "sliders", "trained.safetensors", *more, "-o", "p.html",
            "--steps", 1, "--seeds", "0,5", "--truncation", 0.5,
        )  # fmt: skip
        assert told.code == 0 and told.err == "" and "sliders: " in told.out, told.err
        assert "seed 5" in (home / "p.html").read_text()


def test_the_command_shows_teacher_and_student_side_by_side(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(
        capsys, "edit", "sliders", home / "teacher.safetensors", "-s", home / "student.safetensors",
        "-o", home / "p.html", "--steps", 1, "--count", 1,
    )  # fmt: skip
    assert told.code == 0 and told.err == ""
    page = (home / "p.html").read_text()
    assert page.count("<canvas") == 8 and "make the same codes" in page


def test_projected_photos_are_shown_and_seeds_beside_them_only_if_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    projected(STYLEGAN2.model(), "w+", torch.randn(6, 8), home / "latents" / "anna.safetensors")
    base = ("edit", "sliders", home / "teacher.safetensors", "-o", home / "p.html")
    base = (*base, "--latents", home, "--steps", 1, "--count", 1)  # type: ignore[assignment]
    for more, count in (((), 1), (("--seeds", "0,1"), 3)):
        told = run_cli(capsys, *base, *more)
        page = (home / "p.html").read_text()
        assert told.code == 0 and "Generator, anna" in page, told.err
        assert page.count("<canvas") == count


def test_photos_are_given_to_a_translator_and_to_no_other(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(WIRINGS["munit"].model(), home / "munit.safetensors")
    (home / "photos").mkdir()
    pixels = ((photos(1, size=64)[0] + 1) * 127.5).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(home / "photos" / "a.png")
    base = ("edit", "sliders", home / "munit.safetensors", "-o", home / "p.html", "--steps", 1)
    base = (*base, "--count", 1, "--seeds", 0)
    told = run_cli(capsys, *base)
    assert told.code == 2 and "reads images: give them" in told.err
    told = run_cli(capsys, *base, "--images", home / "photos", "--size", 32)
    assert told.code == 0 and "photo 1, seed 0" in (home / "p.html").read_text(), told.err
    told = run_cli(
        capsys, "edit", "sliders", home / "teacher.safetensors", "-o", home / "p.html",
        "--images", home / "photos",
    )  # fmt: skip
    assert told.code == 2 and "reads no photos: leave --images out" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["directions", "teacher", "-o", "d", "--by", "sfa"], "did you mean 'sefa'"),
        (["directions", "teacher", "-o", "d", "--layers", "a"], "--layers a: give the first"),
        (["directions", "teacher", "-o", "d", "--layers", "3-9"], "The layers are 3-9"),
        (["directions", "teacher", "-o", "."], "name the file to write"),
        (["directions", "teacher", "-o", "d", "--from", "x"], "--from and --teacher go together"),
        (["directions", "student", "-o", "d", "--from", "found", "-t", "teacher", "--by", "pca",
          "--count", "2"], "--by, --count: the directions of --from have theirs. Leave them out"),
        (["directions", "student", "-o", "d", "--from", "found", "-t", "student"],
         "directions are of another network"),
        (["sliders", "teacher"], "Give one of the two"),
        (["sliders", "teacher", "-o", "p", "-d", "found", "--layers", "1"],
         "--layers: the directions of --directions have theirs. Leave it out"),
        (["sliders", "teacher", "-o", "p", "--seeds", "a"], "--seeds a: give whole numbers"),
        (["sliders", "teacher", "-o", "p", "--pixels", "20"], "pixels: Input should be a multiple"),
        (["sliders", "teacher", "-o", "p", "-d", "teacher"], "not edit directions"),
        (["sliders", "teacher", "-o", "p", "--max-mb", "0.001"], "give --max-mb 0."),
        (["sliders", "teacher", "-o", "."], "name the file to write"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_done_says_why(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(home)
    found = find_directions(STYLEGAN2.model(), **FOUND)
    save_directions(found, home / "found.safetensors")
    names = ("teacher", "student", "found")
    given = [f"{a}.safetensors" if a in names else a for a in arguments]
    before = sorted(home.iterdir())
    told = run_cli(capsys, "edit", *given)
    assert told.code == 2 and message in told.err, told.err
    assert sorted(home.iterdir()) == before


def test_every_verb_of_editing_has_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "edit", "--help")
    assert "directions" in told.out and "sliders" in told.out
