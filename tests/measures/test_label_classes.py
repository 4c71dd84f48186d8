"""Label maps and label pictures as classes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from segmenter_files import BLUE, COLOURS, GREEN, RED, described

from ganpress.data import Images, evaluation, open_images
from ganpress.errors import ConfigError, ImagesError
from ganpress.measures.label_sets import CITYSCAPES, COCO_STUFF
from ganpress.measures.labels import Labelling, has_truth, shown_part, truth_of
from ganpress.measures.metrics.segmentation import IGNORED
from ganpress.measures.segmenter_file import checked

IDS = np.array([[1, 1, 2], [0, 3, 2]], np.uint8)
CLASSES = [[0, 0, 1], [IGNORED, 2, 1]]


def labelling() -> Labelling:
    return checked(described(), "the test").labelling


def painted(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array([(0, 0, 0), *COLOURS.values()], np.uint8)[ids]


def folder_of(home: Path, name: str, pictures: list[NDArray[np.uint8]]) -> Path:
    (home / name).mkdir()
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(home / name / f"{index}.png")
    return home / name


def with_maps(home: Path, *maps: NDArray[np.uint8]) -> Images:
    photos = folder_of(home, "photos", [painted(np.zeros_like(ids)) for ids in maps])
    return open_images(photos, labels=folder_of(home, "labels", list(maps)))


def test_ids_become_classes(tmp_path: Path) -> None:
    how, maps = truth_of(with_maps(tmp_path, IDS), (2, 3), labelling())
    assert [each.tolist() for each in maps] == [CLASSES]
    assert how == "label maps (ids)"


def test_colours_become_the_same_classes(tmp_path: Path) -> None:
    label = folder_of(tmp_path, "label", [painted(IDS)])
    images = open_images(label, pairs=folder_of(tmp_path, "photo", [painted(IDS)]))
    how, maps = truth_of(images, (2, 3), labelling())
    assert [each.tolist() for each in maps] == [CLASSES]
    assert "nearest colour" in how


def test_a_map_is_preferred_to_a_label_picture(tmp_path: Path) -> None:
    label = folder_of(tmp_path, "label", [painted(IDS * 0 + 1)])
    images = open_images(
        label,
        pairs=folder_of(tmp_path, "photo", [painted(IDS)]),
        labels=folder_of(tmp_path, "ids", [IDS]),
    )
    assert [each.tolist() for each in truth_of(images, (2, 3), labelling())[1]] == [CLASSES]


def test_the_colours_of_a_jpeg_are_known_again() -> None:
    ids = np.array([[1, 2], [3, 1]], np.uint8).repeat(16, 0).repeat(16, 1)
    file = io.BytesIO()
    Image.fromarray(painted(ids)).save(file, "JPEG", quality=90, subsampling=0)
    found = labelling().by_colours(np.asarray(Image.open(file)))
    assert (found.numpy() == ids - 1.0).mean() > 0.98


def test_a_photo_is_no_label_picture(tmp_path: Path) -> None:
    grey = np.full((4, 4, 3), 128, np.uint8)
    images = open_images(folder_of(tmp_path, "a", [grey]), pairs=folder_of(tmp_path, "b", [grey]))
    with pytest.raises(ImagesError, match=r"0\.png is no label picture.*\(128, 128, 128\)"):
        truth_of(images, 4, labelling())


def test_an_id_of_no_class_names_its_map(tmp_path: Path) -> None:
    images = with_maps(tmp_path, IDS, np.where(IDS == 3, 9, IDS).astype(np.uint8))
    with pytest.raises(ImagesError, match=r"labels/1\.png has the id 9, .*0, 1, 2, 3"):
        truth_of(images, 2, labelling())


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    images = open_images(folder_of(tmp_path, "a", [painted(IDS)]))
    assert not has_truth(images, labelling())
    with pytest.raises(ConfigError, match="--labels"):
        truth_of(images, 2, labelling())


@pytest.mark.parametrize(("shape", "size"), [((9, 13), 4), ((13, 9), 4), ((8, 16), (2, 4))])
def test_the_part_of_a_map_is_the_part_of_the_picture(
    tmp_path: Path, shape: tuple[int, int], size: int | tuple[int, int]
) -> None:
    """The picture's own crop, when it is not resized, and no more than a pixel off when it is."""
    rows = np.arange(shape[0] * shape[1]).reshape(shape)
    part = shown_part(torch.from_numpy(rows), size)
    wide, tall = (size[1], size[0]) if isinstance(size, tuple) else (size, size)
    assert abs(part.shape[1] / part.shape[0] - wide / tall) < 0.2
    assert part.shape[0] == shape[0] or part.shape[1] == shape[1]
    centre = part.float().mean() - rows.mean()
    assert abs(float(centre)) <= 0.5 + shape[1] / 2


def test_the_part_of_a_map_at_the_crops_own_size_is_the_batchs(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 4, (8, 13)).astype(np.uint8)
    images = with_maps(tmp_path, ids)
    [batch] = evaluation(images, batch=1, size=8)
    assert batch.labels is not None
    [part] = truth_of(images, 8, labelling())[1]
    assert torch.equal(part, batch.labels[0] - 1)


def test_cityscapes_maps_are_read_in_either_numbering() -> None:
    train, label = np.array([[0, 10, 18, 255]]), np.array([[7, 23, 33, 4]])
    assert CITYSCAPES.encoding_of([0, 10, 18, 255]) == "trainIds"
    assert CITYSCAPES.encoding_of([4, 7, 23, 33]) == "labelIds"
    want = [[0, 10, 18, IGNORED]]
    assert CITYSCAPES.by_ids(train, "trainIds").tolist() == want
    assert CITYSCAPES.by_ids(label, "labelIds").tolist() == want
    assert CITYSCAPES.classes[10] == "sky" and CITYSCAPES.classes[18] == "bicycle"


def test_cityscapes_label_ids_are_those_of_its_scripts() -> None:
    """As cityscapesScripts' labels.py lists them: the ids of trainIds 0 to 18; all others void."""
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    found = CITYSCAPES.by_ids(np.arange(35), "labelIds").tolist()
    assert found == [ids.index(i) if i in ids else IGNORED for i in range(35)]


def test_cityscapes_colours_are_those_of_the_classes() -> None:
    seen = np.array([[(128, 64, 128), (70, 130, 180), (119, 11, 32), (0, 0, 0)]], np.uint8)
    assert CITYSCAPES.by_colours(seen).tolist() == [[0, 10, 18, IGNORED]]


def test_cocos_ids_are_its_classes_and_255_is_not_counted() -> None:
    found = COCO_STUFF.by_ids(np.array([[0, 181, 255]]), "ids 0 to 181")
    assert found.tolist() == [[0, 181, IGNORED]]
    with pytest.raises(ImagesError, match="id 182"):
        COCO_STUFF.encoding_of([3, 182])


def test_the_nearest_colour_is_that_of_the_sum_of_channels() -> None:
    near = np.array([[(230, 20, 20), (10, 240, 30), (0, 0, 250), (20, 20, 20)]], np.uint8)
    assert labelling().by_colours(near).tolist() == [[0, 1, 2, IGNORED]]
    assert tuple(COLOURS.values()) == (RED, GREEN, BLUE)
