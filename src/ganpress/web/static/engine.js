// The models' worker, seen from the page.

export const STOPPED = "stopped";
const WAYS = { webgpu: "WebGPU", wasm: "WebAssembly" };

// As many as are asked for, or as pay: all cores where there are few, half of many (the others are
// slow ones, or busy). Always one where the page is not isolated: WebAssembly then has no more.
export function threadsHere(asked) {
  if (!globalThis.crossOriginIsolated) return 1;
  if (asked >= 1) return Math.floor(asked);
  const cores = navigator.hardwareConcurrency || 1;
  return cores <= 4 ? cores : Math.min(8, cores >> 1);
}

// "webgpu" and "wasm", the best first; what this browser, and this page's files, have.
export async function backendsHere(hasWebgpuFiles) {
  try {
    if (hasWebgpuFiles && (await navigator.gpu?.requestAdapter())) return ["webgpu", "wasm"];
  } catch {
    // a browser that has the interface and no GPU
  }
  return ["wasm"];
}

export const nameOf = (backend, threads) =>
  backend === "webgpu" ? WAYS.webgpu : `${WAYS.wasm}, ${threads} ${threads === 1 ? "thread" : "threads"}`;

// What went wrong with a model, in words for people.
export function inWords(message, title) {
  if (message.startsWith("missing: ")) {
    return `${title}: its file is not there (${message.slice(9)}). Write the page again: ganpress site.`;
  }
  if (/failed to fetch|networkerror|load failed/i.test(message)) {
    return `${title}: its file could not be fetched. Is the server still running?`;
  }
  if (/bad_alloc|out of memory|\boom\b|allocat|invalid array length/i.test(message)) {
    return `${title}: not enough memory for this model. Close other tabs, or write the page with a smaller --size.`;
  }
  if (/protobuf|parse|invalid model|no graph/i.test(message)) {
    return `${title}: its file is damaged, or is no ONNX file (${message}). Write the page again: ganpress site.`;
  }
  return `${title}: onnxruntime-web cannot run it (${message}).`;
}

export class Engine {
  #worker;
  #waiting = new Map();
  #count = 0;

  // Throws an Error where onnxruntime-web cannot be loaded.
  static async start(backend, threads) {
    const engine = new Engine();
    engine.backend = backend;
    engine.threads = threads;
    engine.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    engine.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = engine.#waiting.get(data.n) ?? {};
      engine.#waiting.delete(data.n);
      if (data.error === undefined) resolve?.(data);
      else reject?.(new Error(data.error));
    };
    engine.#worker.onerror = (event) => {
      const error = new Error(event.message || "the page's worker.js could not be loaded");
      for (const { reject } of engine.#waiting.values()) reject(error);
      engine.#waiting.clear();
    };
    try {
      await engine.#ask("start", { backend, threads });
    } catch (error) {
      engine.stop();
      throw new Error(`onnxruntime-web cannot be loaded (${error.message}). Are the page's files complete?`);
    }
    return engine;
  }

  #ask(call, rest) {
    const n = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(n, { resolve, reject });
      this.#worker.postMessage({ n, call, ...rest });
    });
  }

  load(model) {
    const { inputs, output, range, size } = model;
    const url = new URL(model.file, document.baseURI).href;
    return this.#ask("load", { id: model.id, url, model: { inputs, output, range, size } });
  }

  run(model, feeds) {
    return this.#ask("run", { id: model.id, feeds });
  }

  drop(model) {
    return this.#ask("drop", { id: model.id });
  }

  stop() {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Error(STOPPED));
    this.#waiting.clear();
  }
}
