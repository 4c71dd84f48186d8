"""The classes of public data sets that published segmentation networks know.

Cityscapes: Cordts et al., CVPR 2016, as their scripts number and colour them. COCO-Stuff: Caesar
et al., CVPR 2018; ids 0 to 181, of which 171 occur. CMP facades: Tylecek and Sara, GCPR 2013, with
the colours of their palette.
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

_FACADES = (
    *(("background", (0, 0, 170)), ("facade", (0, 0, 255)), ("window", (0, 85, 255))),
    *(("door", (0, 170, 255)), ("cornice", (0, 255, 255)), ("sill", (85, 255, 170))),
    *(("balcony", (170, 255, 85)), ("blind", (255, 255, 0)), ("decoration", (255, 170, 0))),
    *(("moulding", (255, 85, 0)), ("pillar", (255, 0, 0)), ("shop", (170, 0, 0))),
)
FACADES = Labelling(
    tuple(name for name, _ in _FACADES),
    {"ids 1 to 12": {0: IGNORED, **{i + 1: i for i in range(len(_FACADES))}}},
    {(0, 0, 0): IGNORED, **{colour: index for index, (_, colour) in enumerate(_FACADES)}},
)

_THINGS = (
    "person, bicycle, car, motorcycle, aeroplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, "
    "cow, elephant, bear, zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, "
    "tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, "
    "skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, "
    "bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, doughnut, cake, "
    "chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, "
    "laptop, mouse, remote, keyboard, mobile phone, microwave, oven, toaster, sink, refrigerator, "
    "blender, book, clock, vase, scissors, teddy bear, hair dryer, toothbrush, hair brush"
)
_STUFF = (
    "banner, blanket, branch, bridge, building (other), bush, cabinet, cage, cardboard, carpet, "
    "ceiling (other), ceiling (tile), cloth, clothes, clouds, counter, cupboard, curtain, "
    "desk (stuff), dirt, door (stuff), fence, floor (marble), floor (other), floor (stone), "
    "floor (tile), floor (wood), flower, fog, food (other), fruit, furniture (other), grass, "
    "gravel, ground (other), hill, house, leaves, light, mat, metal, mirror (stuff), moss, "
    "mountain, mud, napkin, net, paper, pavement, pillow, plant (other), plastic, platform, "
    "playing field, railing, railway, river, road, rock, roof, rug, salad, sand, sea, shelf, "
    "sky (other), skyscraper, snow, solid (other), stairs, stone, straw, structural (other), "
    "table, tent, textile (other), towel, tree, vegetable, wall (brick), wall (concrete), "
    "wall (other), wall (panel), wall (stone), wall (tile), wall (wood), water (other), "
    "water drops, window (blind), window (other), wood"
)
COCO_STUFF_NAMES = (*_THINGS.split(", "), *_STUFF.split(", "))
"""By id in a map; those that do not occur have a name, too."""
