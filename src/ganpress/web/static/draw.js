// Input module: a canvas to draw on. Outlines are strokes (draw-lines.js); label maps, and label
// pictures in colours, are areas (draw-areas.js).
import { mountAreas } from "./draw-areas.js";
import { mountLines } from "./draw-lines.js";

const OUTLINE = [
  { name: "paper", colour: [255, 255, 255] },
  { name: "line", colour: [0, 0, 0] },
];

const GREY_SPREAD = 12; // as inputs.py calls two greys an outline, and two colours a label picture
const isGrey = ({ colour }) => Math.max(...colour) - Math.min(...colour) <= GREY_SPREAD;

export function mount(container, model, onInputs, tools) {
  const root = document.createElement("div");
  root.className = "draw";
  container.append(root);
  if (model.labels) return mountAreas(root, labelled(model), onInputs, tools);
  const palette = model.palette?.length > 1 ? model.palette : OUTLINE;
  if (palette.length === 2 && palette.every(isGrey)) return mountLines(root, lines(model, palette), onInputs, tools);
  return mountAreas(root, coloured(model, palette), onInputs, tools);
}

// What each canvas works with: the size in pixels, what is painted with, and how the model reads it.

function sizeOf(model, name) {
  const dims = model.inputs[name].dims;
  return [dims[2] ?? model.size[0], dims[3] ?? model.size[1]];
}

function lines(model, palette) {
  const size = sizeOf(model, "image");
  return { size, palette, stroke: model.stroke ?? 2 / 72, picture: pictureOf(model, size) };
}

// A label picture: its colours are what is painted with, and what is read.
function coloured(model, palette) {
  const size = sizeOf(model, "image");
  const picture = pictureOf(model, size);
  return { size, classes: palette, feeds: ({ shown }, tools) => picture(shown, tools) };
}

function labelled(model) {
  const { count, dontcare, edges, classes } = model.labels;
  const size = sizeOf(model, "semantics");
  const dims = [1, count + Number(dontcare) + Number(edges), ...size];
  const feeds = ({ ids, things }) => {
    const data = oneHot(ids, dims[1]);
    if (edges) markEdges(things, size, data.subarray((dims[1] - 1) * ids.length));
    return { semantics: { data, dims } };
  };
  return { size, classes, feeds, edges };
}

// ImageData -> the feed of the model's picture.
function pictureOf(model, size) {
  const channels = model.inputs.image.dims[1];
  return (shown, tools) => ({
    image: { data: tools.toTensor(shown, channels, model.range), dims: [1, channels, ...size] },
  });
}

// (pixels,) ids -> (channels, pixels) in 0 and 1.
export function oneHot(ids, channels) {
  const data = new Float32Array(channels * ids.length);
  for (let p = 0; p < ids.length; p++) data[ids[p] * ids.length + p] = 1;
  return data;
}

// 1 into `out` where one of a pixel's 4 neighbours is of another thing.
export function markEdges(things, [height, width], out) {
  for (let y = 0, p = 0; y < height; y++) {
    for (let x = 0; x < width; x++, p++) {
      if (x + 1 < width && things[p] !== things[p + 1]) out[p] = out[p + 1] = 1;
      if (y + 1 < height && things[p] !== things[p + width]) out[p] = out[p + width] = 1;
    }
  }
}
