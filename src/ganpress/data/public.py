"""The public data sets of the papers: what they are, on whose terms, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from ganpress.errors import ConfigError, did_you_mean

_BERKELEY = "http://efrosgans.eecs.berkeley.edu"
_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_UNPAIRED = ("trainA", "trainB", "testA", "testB")


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A data set as its publisher offers it.

    kind: unpaired, paired, labels or unconditional. size: of what is fetched or brought, about.
    train: the command that trains on it; {0} is its folder. url: of the archive, or None where
    the user has to bring `files` from `page`. folders: what the archive holds, below its top.
    md5: as the publisher's page gives it, or None where there is none.
    """

    what: str
    kind: str
    size: str
    terms: str
    train: str
    url: str | None = None
    folders: tuple[str, ...] = ()
    md5: str | None = None
    page: str = ""
    files: str = ""


def _unpaired(name: str, what: str, size: str, terms: str) -> PublicSet:
    return PublicSet(
        what=what,
        kind="unpaired",
        size=size,
        terms=terms,
        train=f"cyclegan --images {{0}}/trainA --other {{0}}/trainB --run runs/{name}",
        url=f"{_BERKELEY}/cyclegan/datasets/{name}.zip",
        folders=_UNPAIRED,
    )


def _paired(
    name: str, what: str, size: str, terms: str, folders: tuple[str, ...], order: str
) -> PublicSet:
    return PublicSet(
        what=what,
        kind="paired",
        size=size,
        terms=terms,
        train=f"pix2pix --images {{0}}/train --side-by-side {order} --run runs/{name}",
        url=f"{_BERKELEY}/pix2pix/datasets/{name}.tar.gz",
        folders=folders,
    )


PUBLIC: dict[str, PublicSet] = {
    "horse2zebra": _unpaired(
        "horse2zebra", "horses, zebras (ImageNet)", "111 MB", "ImageNet's: research only"
    ),
    "summer2winter_yosemite": _unpaired(
        "summer2winter_yosemite",
        "Yosemite in summer, in winter (Flickr)",
        "126 MB",
        "no licence given; the photographers' rights",
    ),
    "monet2photo": _unpaired(
        "monet2photo",
        "Monet's paintings (WikiArt), photos (Flickr)",
        "291 MB",
        "no licence given; the photographers' rights",
    ),
    "facades": _paired(
        "facades",
        "facades, their label maps as colours (CMP)",
        "29 MB",
        "no licence given; cite Tylecek and Sara 2013",
        ("train", "val", "test"),
        "BA",
    ),
    "maps": _paired(
        "maps",
        "aerial photos, maps (Google Maps)",
        "239 MB",
        "no licence given; Google's rights",
        ("train", "val"),
        "BA",
    ),
    "edges2shoes": _paired(
        "edges2shoes",
        "edges, shoes (UT Zappos50K)",
        "2.2 GB",
        "UT Zappos50K's: research, not commercial",
        ("train", "val"),
        "AB",
    ),
    "cifar10": PublicSet(
        what="32-pixel pictures of 10 classes",
        kind="unconditional",
        size="162 MB",
        terms="no licence given; cite Krizhevsky 2009",
        train="sngan --images {0}/train.npz --run runs/cifar10",
        url=_CIFAR,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
    "cityscapes": PublicSet(
        what="streets with label and instance maps",
        kind="labels",
        size="11.3 GB",
        terms="Cityscapes': registration, not commercial",
        train="gaugan --images {0}/train/photo --labels {0}/train/label "
        "--instances {0}/train/instance --run runs/cityscapes "
        "--set options.labels=35 --set options.edges=true",
        page="https://www.cityscapes-dataset.com",
        files="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    ),
    "coco_stuff": PublicSet(
        what="photos with label and instance maps",
        kind="labels",
        size="20 GB",
        terms="annotations CC BY 4.0; photos by Flickr's terms",
        train="gaugan --images {0}/train/photo --labels {0}/train/label "
        "--instances {0}/train/instance --run runs/coco_stuff --set options.labels=182 "
        "--set options.dontcare=true --set options.edges=true --set data.enlarge=true",
        page="https://cocodataset.org and https://github.com/nightrome/cocostuff",
        files="train2017.zip, val2017.zip, stuffthingmaps_trainval2017.zip and "
        "annotations_trainval2017.zip",
    ),
    "celeba": PublicSet(
        what="faces, 178x218",
        kind="unconditional",
        size="1.4 GB",
        terms="CelebA's: research, not commercial",
        train="stylegan2 --images {0} --run runs/celeba --set data.size={1} --set options.size={1}",
        page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        files="img_align_celeba.zip",
    ),
    "ffhq": PublicSet(
        what="faces, 1024x1024",
        kind="unconditional",
        size="89 GB",
        terms="CC BY-NC-SA 4.0 (NVIDIA); each photo its own",
        train="stylegan2 --images {0} --run runs/ffhq --set data.size={1} --set options.size={1}",
        page="https://github.com/NVlabs/ffhq-dataset",
        files="the PNGs of images1024x1024",
    ),
}


def public_set(name: str) -> PublicSet:
    """The set of this name. Raises ConfigError with the nearest name and all names."""
    if name not in PUBLIC:
        raise ConfigError(
            f"There is no data set '{name}'{did_you_mean(name, PUBLIC)}. "
            f"There are: {', '.join(PUBLIC)}."
        )
    return PUBLIC[name]
