// Stands in for engine.js: its calls are kept, and what a test sets in `globalThis.asked` happens.
export const STOPPED = "stopped";
export const threadsHere = () => 1;
export const backendsHere = async () => ["webgpu", "wasm"];
export const nameOf = (backend) => backend;
export const inWords = (message, title) => `${title}: ${message}`;
globalThis.calls = [];
globalThis.asked = {};

export class Engine {
  loaded = new Set();
  static async start(backend) {
    calls.push(`start ${backend}`);
    return Object.assign(new Engine(), { backend });
  }
  async load({ id }) {
    calls.push(`load ${id}`);
    this.loaded.add(id);
  }
  async drop({ id }) {
    calls.push(`drop ${id}`);
    await asked.dropping?.();
    this.loaded.delete(id);
  }
  async run({ id }) {
    calls.push(`run ${id} by ${this.backend}`);
    await asked.running?.();
    if (!this.loaded.has(id)) throw new Error("it is not loaded");
    if (asked.lost && this.backend === "webgpu") throw new Error("the device is lost");
    return { pixels: new Uint8ClampedArray(64).fill(200), width: 4, height: 4, ms: 1 };
  }
  stop() {}
}
