"""How well the pixels of generated pictures are recognised as the classes of their label maps.

Mean IoU and pixel accuracy under a segmentation network (Isola et al., CVPR 2017, section 4.1; GAN
Compression, section 4.1). They say whether what the map asks for is in the picture, as far as that
network can see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError, ImagesError
from ganpress.measures.comparison import eight_bit
from ganpress.measures.labels import Labelling, truth_of
from ganpress.measures.metrics.segmentation import confusion, mean_iou, pixel_accuracy
from ganpress.measures.segmenter import Segmenter, parts_of
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import inputs_of
from ganpress.nn.modes import in_eval
from ganpress.types.sizes import Size


def segmentation_quality(
    pictures: Model | nn.Module | Iterable[Tensor],
    batches: Iterable[Batch],
    segmenter: Segmenter,
    *,
    truth: Iterable[Tensor] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Mean IoU and pixel accuracy of pictures against their label maps, both 0 to 1.

    Larger is better.

    Args:
        pictures: a generator, which makes the pictures of each batch, once; or pictures that are
            made, (n, c, h, w) in [-1, 1] for each batch. They are rounded to 8 bits.
        batches: with label maps, or with ``x`` that are label pictures of the segmenter's colours.
        truth: (h, w) classes of each picture, in order, as of `labels.truth_of`, at any resolution;
            default: the batches' own maps.
        seed: of noise that the generator reads.
    Raises: ConfigError where the batches say no classes, or there are fewer pictures or maps than
        the other; ImagesError for ids that are none of the segmenter's, or all of them ignored, or
        of which only a later batch shows what they mean.
    """
    generator = torch.Generator().manual_seed(seed)
    known = None if truth is None else iter(truth)
    ids: set[int] = set()
    made = None if isinstance(pictures, nn.Module | Model) else iter(pictures)
    tally = Tally(segmenter)
    for batch in batches:
        x = _made(pictures, batch, generator) if made is None else next(made, None)
        maps = (
            batch_truth(batch, segmenter.labelling, ids) if known is None else _next(known, batch)
        )
        if x is None or len(x) != len(maps):
            raise ConfigError(
                f"A batch has {len(maps)} label maps and {0 if x is None else len(x)} pictures: "
                "give the pictures that were made from it."
            )
        tally.add(eight_bit(x), maps)
    return tally.values()


class Tally:
    """The confusion matrix of pictures, batch after batch.

    Attributes: matrix: (classes, classes) int64 on the CPU, rows are true classes.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        classes = len(segmenter.labelling.classes)
        self.segmenter = segmenter
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, pictures: Tensor, truth: Sequence[Tensor]) -> None:
        """Count the pixels of pictures (n, c, h, w) in [-1, 1] against n maps (h, w) of classes."""
        classes = len(self.matrix)
        for rows in _alike(truth):
            size = (truth[rows[0]].shape[0], truth[rows[0]].shape[1])
            found = self.segmenter.classes_of(pictures[rows].to(self.segmenter.order.device), size)
            wanted = torch.stack([truth[row] for row in rows])
            self.matrix += confusion(wanted, found.cpu(), classes)

    def values(self) -> dict[str, float]:
        """{"miou": mean IoU, "accuracy": pixel accuracy}, 0 to 1."""
        return values_of(self.matrix, self.segmenter)


def values_of(matrix: Tensor, segmenter: Segmenter) -> dict[str, float]:
    """{"miou": mean IoU, "accuracy": pixel accuracy}, 0 to 1, of a confusion matrix.

    Raises: ImagesError where no pixel was counted.
    """
    if not int(matrix.sum()):
        raise ImagesError(
            "The label maps have no pixel of the segmenter's classes: every id is one that is not "
            "counted. Give maps of its classes, or leave its metrics out."
        )
    over = segmenter.labelling.mean_over
    return {"miou": mean_iou(matrix, over), "accuracy": pixel_accuracy(matrix)}


def batch_truth(batch: Batch, labelling: Labelling, ids: set[int]) -> list[Tensor]:
    """(h, w) classes of each picture of a batch, from its label maps or its label pictures.

    Args: ids: of the maps of the batches before, to which those of this one are added: the maps of
        one set are in one encoding.
    Raises: ConfigError where it has neither; ImagesError for ids or colours that are no class's,
        or where the ids of the batches before were taken for those of another encoding.
    """
    if batch.labels is not None:
        maps = batch.labels.cpu()
        before = labelling.encoding_of(sorted(ids)) if ids else ""
        ids.update(maps.unique().tolist())
        encoding = labelling.encoding_of(sorted(ids))
        if before not in ("", encoding):
            raise ImagesError(
                f"The first label maps could have been {before}, and a later one is {encoding}: "
                "give truth=truth_of(images, size, segmenter.labelling)[1] (of measures.labels), "
                "which looks at all maps first."
            )
        return list(labelling.by_ids(maps.numpy(), encoding))
    if batch.y is None or not labelling.colours or batch.x.shape[1] != 3:
        raise ConfigError(
            "The batches have no label maps, and no label pictures of the segmenter's colours: "
            "open the images with labels."
        )
    pictures = ((batch.x.cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [labelling.by_colours(each.permute(1, 2, 0).numpy()) for each in pictures]


def _made(pictures: object, batch: Batch, generator: torch.Generator) -> Tensor:
    assert isinstance(pictures, nn.Module | Model)
    net = pictures.net if isinstance(pictures, Model) else pictures
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    inputs = inputs_of(pictures, batch, generator)
    with torch.no_grad(), in_eval(net):
        made: Tensor = net(*(each.to(device) for each in inputs))
    return made


def _next(truth: Iterator[Tensor], batch: Batch) -> list[Tensor]:
    """The next maps of ``truth``, as many as the batch has pictures if there are so many."""
    return [each for _, each in zip(range(len(batch.x)), truth, strict=False)]


def _alike(truth: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the maps, those of one size together."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, each in enumerate(truth):
        found.setdefault(tuple(each.shape), []).append(row)
    return list(found.values())


_real: dict[object, Tensor] = {}
_MOST_REAL = 64


class LabelMetrics:
    """The metrics of a comparison that are measured against label maps, and their yardsticks.

    Args: labels: segmenters by the names of the metrics. images: with label maps, or label pictures
        and their targets. size: of the pictures. who: identifies the real pictures, whose matrices
        are kept for the next generator that is compared with them.
    Raises: as of `labels.truth_of`.
    """

    def __init__(
        self, labels: Mapping[str, Segmenter], images: Images, size: Size, who: object
    ) -> None:
        self.labels = labels
        self.nets = {net.digest: net for net in labels.values()}
        truths = {key: truth_of(images, size, net.labelling) for key, net in self.nets.items()}
        self.known = {key: how for key, (how, _) in truths.items()}
        self.truths = {key: maps for key, (_, maps) in truths.items()}
        self.made = {key: Tally(net) for key, net in self.nets.items()}
        self.keys = {key: (who, key) for key in self.nets}
        self.fresh = {k: Tally(net) for k, net in self.nets.items() if self.keys[k] not in _real}

    def add(self, made: Tensor, real: Tensor) -> None:
        """The next pictures in the images' order and the true ones, (n, c, h, w) of 8 bits."""
        for key, maps in self.truths.items():
            truth = [next(maps) for _ in range(len(made))]
            self.made[key].add(made, truth)
            if key in self.fresh:
                self.fresh[key].add(real, truth)

    @property
    def metrics(self) -> dict[str, float]:
        """Each metric's value, 0 to 1."""
        return self._named({key: tally.matrix for key, tally in self.made.items()})

    @property
    def yardsticks(self) -> dict[str, float]:
        """The metrics of the real pictures, and of a picture that is one class everywhere."""
        for key, tally in self.fresh.items():
            _real[self.keys[key]] = tally.matrix
        matrices = {key: _real[self.keys[key]] for key in self.nets}
        while len(_real) > _MOST_REAL:
            del _real[next(iter(_real))]
        dull = {key: _one_class(matrix) for key, matrix in matrices.items()}
        return self._named(matrices, ", the real pictures") | self._named(
            dull, ", the commonest class everywhere"
        )

    @property
    def protocol(self) -> dict[str, str]:
        """A line for each metric, by the name that it was asked for by."""
        return {
            name: f"against {self.known[net.digest]}; {net.protocol}"
            for name, net in self.labels.items()
        }

    def _named(self, matrices: Mapping[str, Tensor], of: str = "") -> dict[str, float]:
        found = {}
        for name, net in self.labels.items():
            measure = (parts_of(name) or ("", ""))[0]
            values = values_of(matrices[net.digest], net)
            found[f"{measure}-{net.name}{of}"] = values[measure]
        return found


def _one_class(matrix: Tensor) -> Tensor:
    """The confusion matrix where the commonest true class is found in every pixel."""
    counts = matrix.sum(1)
    found = torch.zeros_like(matrix)
    found[:, counts.argmax()] = counts
    return found
