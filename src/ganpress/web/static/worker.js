// Runs the models, away from the page's thread. Messages are answered in order, one by one:
//   {call: "start", backend, threads}          -> {backend, threads}
//   {call: "load", id, url, model}             -> {ms}
//   {call: "run", id, feeds}                   -> {pixels, width, height, ms, convert}
//   {call: "drop", id}                         -> {}
// Each has a number `n`, which its answer repeats; an answer with `error` is one that failed.
import { toPixels } from "./pictures.js";

const SCRIPTS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };
const sessions = new Map();
let ort;
let backend;

async function start({ backend: wanted, threads }) {
  backend = wanted;
  const folder = new URL("onnxruntime/", self.location.href).href;
  ort = await import(`${folder}${SCRIPTS[backend]}`);
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return { backend, threads };
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`missing: ${url} (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

// A free dim has the size that the page shows, and a batch of 1.
const shapeOf = (dims, size) => dims.map((d, k) => d ?? (k === 0 ? 1 : size[k - dims.length + 2]));

async function load({ id, url, model }) {
  const began = performance.now();
  await drop({ id }); // of the other side, perhaps: a session that is only forgotten keeps its memory
  const session = await ort.InferenceSession.create(await fetched(url), {
    executionProviders: [backend],
    graphOptimizationLevel: "all",
  });
  sessions.set(id, { session, model });
  const zeros = {};
  for (const [name, { dims }] of Object.entries(model.inputs)) {
    const shape = shapeOf(dims, model.size);
    zeros[name] = { dims: shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
  }
  await run({ id, feeds: zeros }); // the first run builds what the others use
  return { ms: performance.now() - began };
}

// Planes of floats as the file reads them: bytes, height x width x channels, where it takes these.
function tensorOf({ data, dims }, { dtype, layout }, [low, high]) {
  if (dtype !== "uint8") return new ort.Tensor("float32", data, dims);
  const [n, channels, height, width] = dims;
  const bytes = new Uint8ClampedArray(data.length);
  const size = height * width;
  const across = layout === "NHWC";
  for (let c = 0; c < channels; c++) {
    for (let p = 0; p < size; p++) {
      bytes[across ? p * channels + c : c * size + p] = ((data[c * size + p] - low) * 255) / (high - low);
    }
  }
  const shape = across ? [n, height, width, channels] : dims;
  return new ort.Tensor("uint8", new Uint8Array(bytes.buffer), shape);
}

// What a file of bytes makes -> RGBA.
function fromBytes(data, [, height, width, channels]) {
  const out = new Uint8ClampedArray(4 * height * width);
  for (let p = 0; p < height * width; p++) {
    for (let c = 0; c < 3; c++) out[4 * p + c] = data[p * channels + (channels < 3 ? 0 : c)];
    out[4 * p + 3] = channels % 2 ? 255 : data[p * channels + channels - 1];
  }
  return out;
}

async function run({ id, feeds }) {
  if (!sessions.has(id)) throw new Error("it is not loaded");
  const { session, model } = sessions.get(id);
  const began = performance.now();
  const tensors = {};
  for (const name of session.inputNames) {
    if (!feeds[name]) throw new Error(`nothing was given for the input '${name}'`);
    tensors[name] = tensorOf(feeds[name], model.inputs[name], model.range);
  }
  const ready = performance.now();
  const made = (await session.run(tensors))[model.output];
  const data = made.location === "cpu" ? made.data : await made.getData();
  const done = performance.now();
  const { dims } = made;
  const isBytes = made.type === "uint8";
  const [height, width] = isBytes ? dims.slice(1, 3) : dims.slice(2);
  const pixels = isBytes ? fromBytes(data, dims) : toPixels(data, dims[1], height * width, model.range);
  made.dispose();
  return { pixels, width, height, ms: done - ready, convert: ready - began + performance.now() - done };
}

async function drop({ id }) {
  await sessions.get(id)?.session.release();
  sessions.delete(id);
  return {};
}

const calls = { start, load, run, drop };
let last = Promise.resolve();

self.onmessage = ({ data: { n, call, ...rest } }) => {
  last = last.then(async () => {
    try {
      const answer = await calls[call](rest);
      self.postMessage({ n, ...answer }, answer.pixels ? [answer.pixels.buffer] : []);
    } catch (error) {
      self.postMessage({ n, error: String(error?.message ?? error) });
    }
  });
};
