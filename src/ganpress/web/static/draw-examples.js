// Drawings and scenes to start from, made for this page: none is from a data set.

// Outlines: paths of lines 2 wide, and areas filled with ink, in a square of 72.
export const DRAWINGS = [
  {
    name: "smile",
    strokes: [
      "M36 13a23 23 0 1 0 0 46a23 23 0 1 0 0-46z",
      "M25 42c3 6 7 8 11 8s8-2 11-8",
    ],
    dots: ["M28 28a3 3.6 0 1 0 .01 0z", "M44 28a3 3.6 0 1 0 .01 0z"],
  },
  {
    name: "heart",
    strokes: ["M36 58C22 47 12 38 12 27c0-8 6-13 12-13 5 0 9 3 12 8 3-5 7-8 12-8 6 0 12 5 12 13 0 11-10 20-24 31z"],
  },
  {
    name: "cat",
    strokes: [
      "M16 14l11 9c6-2 12-2 18 0l11-9c2 9 2 16 1 21 0 14-9 23-21 23s-21-9-21-23c-1-5-1-12 1-21z",
      "M36 45c-1 5-7 6-9 3 M36 45c1 5 7 6 9 3",
    ],
    dots: ["M27 32a2.4 3 0 1 0 .01 0z", "M45 32a2.4 3 0 1 0 .01 0z", "M33 41h6l-3 4z"],
  },
  {
    name: "dog",
    strokes: [
      "M22 22c4-4 9-6 14-6s10 2 14 6c4 5 5 11 5 17 0 12-8 20-19 20s-19-8-19-20c0-6 1-12 5-17z",
      "M22 22c-7-3-12 2-13 10 0 7 2 11 8 9",
      "M50 22c7-3 12 2 13 10 0 7-2 11-8 9",
      "M36 46v4c-3 3-6 3-8 1 M36 50c3 3 6 3 8 1",
    ],
    dots: [
      "M28 33a2.4 3 0 1 0 .01 0z",
      "M44 33a2.4 3 0 1 0 .01 0z",
      "M31 41h10l-5 5z",
    ],
  },
  {
    name: "bird",
    strokes: [
      "M15 34c0-12 9-20 20-20 10 0 17 6 19 15l9 4-9 3c-1 13-9 22-21 22-14 0-22-8-27-18 4 0 7-2 9-6z",
      "M24 40c5 8 14 9 20 2",
    ],
    dots: [
      "M43 26a2.3 2.3 0 1 0 .01 0z",
    ],
  },
  {
    name: "strawberry",
    strokes: [
      "M36 22c8-4 20-1 20 10 0 12-12 24-20 29-8-5-20-17-20-29 0-11 12-14 20-10z",
      "M22 20c4 5 9 6 14 2 5 4 10 3 14-2-4-2-9-2-14 2-5-4-10-4-14-2z",
      "M36 22c0-5 1-8 3-11",
    ],
    dots: [
      "M27 36a1.3 1.8 0 1 0 .01 0z",
      "M36 33a1.3 1.8 0 1 0 .01 0z",
      "M45 36a1.3 1.8 0 1 0 .01 0z",
      "M31 45a1.3 1.8 0 1 0 .01 0z",
      "M41 45a1.3 1.8 0 1 0 .01 0z",
    ],
  },
  {
    name: "apple",
    strokes: [
      "M36 24c-5-4-20-4-20 13 0 11 8 22 14 22 3 0 4-1 6-1s3 1 6 1c6 0 14-11 14-22 0-17-15-17-20-13z",
      "M36 24c0-5 1-8 4-11",
      "M40 17c4-5 9-6 14-5-2 5-7 8-14 5z",
    ],
  },
  {
    name: "mushroom",
    strokes: [
      "M10 38c0-15 12-25 26-25s26 10 26 25c0 3-3 4-6 4H16c-3 0-6-1-6-4z",
      "M28 42c0 6-1 10-2 14 0 3 2 4 4 4h12c2 0 4-1 4-4-1-4-2-8-2-14",
      "M27 26a4 4 0 1 0 .01 0z",
      "M45 28a4 4 0 1 0 .01 0z",
    ],
  },
  {
    name: "bell",
    strokes: [
      "M36 13c11 0 16 8 16 19 0 10 3 13 6 19H14c3-6 6-9 6-19 0-11 5-19 16-19z",
      "M30 51c0 9 12 9 12 0",
    ],
  },
  {
    name: "moon",
    strokes: ["M46 12a26 26 0 1 0 14 36C42 52 32 30 46 12z"],
  },
];

// Label maps: [class, [left, top, right, bottom]] from 0 to 1, later ones in front; `ground` is what
// lies behind. A scene is used where the label set has all its names.
const SCENES = [
  { ground: "facade", areas: houseFront() },
  { ground: "building", areas: street("sky", "vegetation", "road", "sidewalk", "car", "person") },
  {
    ground: "sky (other)",
    areas: [
      ["clouds", [0.1, 0.08, 0.45, 0.2]], ["mountain", [0, 0.35, 1, 0.6]],
      ["mountain", [0.3, 0.22, 0.7, 0.4]], ["tree", [0.72, 0.3, 1, 0.62]],
      ["grass", [0, 0.58, 1, 1]], ["river", [0.2, 0.68, 0.75, 0.88]],
    ],
  },
];

function houseFront() {
  const areas = [["background", [0, 0, 1, 0.08]], ["cornice", [0, 0.08, 1, 0.13]]];
  for (const top of [0.18, 0.42]) {
    for (const left of [0.08, 0.31, 0.54, 0.77]) {
      areas.push(["moulding", [left - 0.015, top - 0.025, left + 0.165, top + 0.16]]);
      areas.push(["window", [left, top, left + 0.15, top + 0.15]]);
      areas.push(["sill", [left - 0.015, top + 0.15, left + 0.165, top + 0.175]]);
    }
  }
  areas.push(["balcony", [0.29, 0.53, 0.71, 0.62]], ["cornice", [0, 0.68, 1, 0.72]]);
  areas.push(["shop", [0.06, 0.78, 0.38, 0.97]], ["shop", [0.62, 0.78, 0.94, 0.97]]);
  areas.push(["door", [0.44, 0.76, 0.56, 1]]);
  return areas;
}

function street(sky, trees, road, pavement, car, person) {
  return [
    [sky, [0, 0, 1, 0.3]], [trees, [0, 0.2, 0.22, 0.62]], [trees, [0.8, 0.25, 1, 0.62]],
    [road, [0, 0.62, 1, 1]], [pavement, [0, 0.62, 0.18, 0.85]], [pavement, [0.85, 0.62, 1, 0.85]],
    [car, [0.35, 0.56, 0.52, 0.7]], [car, [0.6, 0.58, 0.7, 0.66]], [person, [0.1, 0.5, 0.14, 0.7]],
  ];
}

// Names of all classes in order -> {ground, areas} with ids.
export function sceneFor(names) {
  for (const { ground, areas } of SCENES) {
    if ([ground, ...areas.map(([name]) => name)].every((name) => names.includes(name))) {
      return {
        ground: names.indexOf(ground),
        areas: areas.map(([name, box]) => [names.indexOf(name), box]),
      };
    }
  }
  const last = names.length - 1;
  const of = (k) => Math.min(k, last);
  const boxes = [0.1, 0.4, 0.7].map((left, k) => [of(k + 3), [left, 0.35, left + 0.2, 0.65]]);
  return {
    ground: of(0),
    areas: [[of(1), [0, 0.3, 1, 0.7]], [of(2), [0, 0.7, 1, 1]], ...boxes],
  };
}
