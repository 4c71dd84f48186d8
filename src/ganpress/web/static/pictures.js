// Pictures: decoding, resizing and cropping as Python does it, and the way to and from tensors.

// Parts of 2^22, as Pillow's 8-bit resampling has its weights; intermediate rows are rounded to
// bytes, as there, so that the numbers are the same.
const BITS = 22;

const cubic = (x) => {
  const a = Math.abs(x);
  if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
  return a < 2 ? (((a - 5) * a + 8) * a - 4) * -0.5 : 0;
};

// For output pixels first to first + count of a line of `from` pixels resized to `to`: where the
// weights of each begin, and the weights.
function weightsOf(from, to, first, count) {
  const scale = from / to;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  const found = [];
  for (let k = first; k < first + count; k++) {
    const centre = (k + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const values = [];
    let sum = 0;
    for (let x = start; x < end; x++) {
      values.push(cubic((x - centre + 0.5) * (1 / wide)));
      sum += values.at(-1);
    }
    const whole = values.map((v) => {
      const part = (sum ? v / sum : v) * 2 ** BITS;
      return Math.trunc(part + (part < 0 ? -0.5 : 0.5));
    });
    found.push({ start, values: whole });
  }
  return found;
}

// One pass over (rows x length) pixels of 4 bytes along a line: `step` and `row` are the distances
// between neighbours in bytes, along the line and between lines.
function pass(bytes, weights, rows, step, row, out, outStep, outRow) {
  const half = 2 ** (BITS - 1);
  for (let k = 0; k < weights.length; k++) {
    const { start, values } = weights[k];
    for (let y = 0; y < rows; y++) {
      let [r, g, b, a] = [half, half, half, half];
      let at = y * row + start * step;
      for (let i = 0; i < values.length; i++, at += step) {
        const w = values[i];
        r += w * bytes[at];
        g += w * bytes[at + 1];
        b += w * bytes[at + 2];
        a += w * bytes[at + 3];
      }
      const to = k * outStep + y * outRow;
      out[to] = Math.floor(r / 2 ** BITS);
      out[to + 1] = Math.floor(g / 2 ** BITS);
      out[to + 2] = Math.floor(b / 2 ** BITS);
      out[to + 3] = Math.floor(a / 2 ** BITS);
    }
  }
  return out;
}

// The window (left, top, width, height) of a picture resized to (wide, tall), bicubic, antialiased.
function resized(picture, [tall, wide], { left, top, width, height }) {
  const across = weightsOf(picture.width, wide, left, width);
  const down = weightsOf(picture.height, tall, top, height);
  const first = Math.min(...down.map((w) => w.start));
  const last = Math.max(...down.map((w) => w.start + w.values.length));
  const rows = last - first;
  const lines = picture.data.subarray(4 * first * picture.width);
  const narrow = pass(lines, across, rows, 4, 4 * picture.width,
    new Uint8ClampedArray(4 * width * rows), 4, 4 * width);
  const moved = down.map((w) => ({ ...w, start: w.start - first }));
  const made = new ImageData(width, height);
  pass(narrow, moved, width, 4 * width, 4, made.data, 4 * width, 4);
  return made;
}

function evenRound(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 ? below + 1 : below;
}

// ImageData of [height, width]: resized in proportion until it just covers that, then its middle.
// A picture that has the size passes as it is.
export function cover(picture, [tall, wide]) {
  const { width, height } = picture;
  const byHeight = tall * width >= wide * height;
  const isThere = byHeight ? height === tall : width === wide;
  const whole = byHeight ? [tall, (width * tall) / height] : [(height * wide) / width, wide];
  const to = isThere ? [height, width] : [Math.max(tall, evenRound(whole[0])), Math.max(wide, evenRound(whole[1]))];
  const window = { top: (to[0] - tall) >> 1, left: (to[1] - wide) >> 1, width: wide, height: tall };
  if (!isThere) return resized(picture, to, window);
  if (height === tall && width === wide) return picture;
  const cut = new ImageData(wide, tall);
  for (let y = 0; y < tall; y++) {
    const from = 4 * ((y + window.top) * width + window.left);
    cut.data.set(picture.data.subarray(from, from + 4 * wide), 4 * y * wide);
  }
  return cut;
}

// A picture as a model with this number of channels sees it, before it is resized: alpha laid over
// white where the model has none, grey by BT.601. In place.
export function seenWith(picture, channels) {
  const d = picture.data;
  const clears = channels === 1 || channels === 3;
  for (let i = 0; i < d.length; i += 4) {
    if (clears && d[i + 3] < 255) {
      const opaque = d[i + 3] / 255;
      for (let c = 0; c < 3; c++) d[i + c] = d[i + c] * opaque + 255 * (1 - opaque);
      d[i + 3] = 255;
    }
    if (channels < 3) {
      d[i] = d[i + 1] = d[i + 2] = (19595 * d[i] + 38470 * d[i + 1] + 7471 * d[i + 2] + 32768) >> 16;
    }
  }
  return picture;
}

// Colours count as much as they are opaque: alpha is multiplied in before resizing, and out after.
function weighted(picture, size) {
  const d = picture.data;
  if (d.every((v, i) => i % 4 !== 3 || v === 255)) return cover(picture, size);
  const within = new ImageData(new Uint8ClampedArray(d), picture.width, picture.height);
  const m = within.data;
  for (let i = 0; i < m.length; i += 4) {
    for (let c = 0; c < 3; c++) {
      const t = m[i + c] * m[i + 3] + 128;
      m[i + c] = ((t >> 8) + t) >> 8;
    }
  }
  const made = cover(within, size);
  if (made === within) return picture;
  for (let i = 0; i < made.data.length; i += 4) {
    const a = made.data[i + 3];
    if (a && a < 255) for (let c = 0; c < 3; c++) made.data[i + c] = Math.trunc((255 * made.data[i + c]) / a);
  }
  return made;
}

// ImageBitmap, canvas, video or ImageData -> ImageData of its own size.
export function pixelsOf(source) {
  if (source instanceof ImageData) return source;
  const canvas = new OffscreenCanvas(source.videoWidth ?? source.width, source.videoHeight ?? source.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Any picture as the model reads it: its channels, its size.
export function fit(source, size, channels = 3) {
  const found = pixelsOf(source);
  const own = source instanceof ImageData ? new ImageData(new Uint8ClampedArray(found.data), found.width, found.height) : found;
  const seen = seenWith(own, channels);
  return channels === 2 || channels === 4 ? weighted(seen, size) : cover(seen, size);
}

// A file -> ImageBitmap: upright, colours as they are stored. Throws an Error in words.
export async function decoded(file) {
  try {
    return await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new Error(`${file.name || "This"} is no picture that this browser can open. Try a JPEG or PNG file.`);
  }
}

// Byte -> its value in a range, in float32 as numpy computes it.
function table([low, high]) {
  const f = Math.fround;
  const step = f(255 / (high - low));
  return Float32Array.from({ length: 256 }, (_, k) => f(f(k / step) + low));
}
const tables = new Map();

// ImageData -> planes (1, channels, h, w). Grey is the red plane, alpha the last.
export function toTensor(picture, channels, range = [-1, 1]) {
  const key = range.join();
  if (!tables.has(key)) tables.set(key, table(range));
  const values = tables.get(key);
  const size = picture.width * picture.height;
  const out = new Float32Array(channels * size);
  const from = channels === 1 ? [0] : channels === 2 ? [0, 3] : channels === 3 ? [0, 1, 2] : [0, 1, 2, 3];
  from.forEach((c, plane) => {
    for (let p = 0, at = plane * size, i = c; p < size; p++, at++, i += 4) out[at] = values[picture.data[i]];
  });
  return out;
}

// Planes (1, channels, h, w) -> RGBA bytes, rounded as numpy rounds (ties to even).
export function toPixels(data, channels, size, [low, high] = [-1, 1]) {
  const f = Math.fround;
  const factor = 255 / (high - low);
  const out = new Uint8ClampedArray(4 * size);
  const from = channels <= 2 ? [0, 0, 0] : [0, 1, 2];
  from.forEach((plane, c) => {
    for (let p = 0, at = plane * size, i = c; p < size; p++, at++, i += 4) out[i] = f(f(data[at] - low) * factor);
  });
  const alpha = channels === 2 ? 1 : channels === 4 ? 3 : -1;
  for (let p = 0, i = 3; p < size; p++, i += 4) {
    out[i] = alpha < 0 ? 255 : f(f(data[alpha * size + p] - low) * factor);
  }
  return out;
}
