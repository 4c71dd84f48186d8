"""The classes of public data sets that published segmentation networks know.

Cityscapes: Cordts et al., CVPR 2016, as their scripts number and colour them. COCO-Stuff: Caesar
et al., CVPR 2018; ids 0 to 181, of which 171 occur.
"""

from __future__ import annotations

from ganpress.measures.labels import Labelling
from ganpress.measures.metrics.segmentation import IGNORED

_UNKNOWN = 255
# Name, id in labelIds (gtFine_labelIds.png), colour (gtFine_color.png), in the order of trainIds.
_CITYSCAPES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
# Colours of what is not measured: nothing, dynamic, ground, parking, rail track, guard rail,
# bridge, tunnel, caravan, trailer.
_NOT_MEASURED = (
    *((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180)),
    *((150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110)),
)
_LABEL_IDS = {label: index for index, (_, label, _) in enumerate(_CITYSCAPES)}

CITYSCAPES = Labelling(
    tuple(name for name, _, _ in _CITYSCAPES),
    {
        "trainIds": {**{i: i for i in range(len(_CITYSCAPES))}, _UNKNOWN: IGNORED},
        "labelIds": {**dict.fromkeys((*range(35), _UNKNOWN), IGNORED), **_LABEL_IDS},
    },
    {
        **dict.fromkeys(_NOT_MEASURED, IGNORED),
        **{colour: index for index, (_, _, colour) in enumerate(_CITYSCAPES)},
    },
)
COCO_STUFF = Labelling(
    tuple(str(i) for i in range(182)),
    {"ids 0 to 181": {**{i: i for i in range(182)}, _UNKNOWN: IGNORED}},
    mean_over="truth",
)
