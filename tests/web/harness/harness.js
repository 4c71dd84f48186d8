// Mounts one module, as the page does, and keeps what it gives.
import * as draw from "./draw.js";
import * as areas from "./draw-areas.js";
import * as latent from "./latent.js";
import * as seeds from "./latent-seeds.js";

Object.assign(globalThis, { draw, areas, latent, seeds });
globalThis.given = []; // [{feeds, shown}], oldest first
globalThis.said = [];
globalThis.delay = 0; // ms that a model takes
let mounted = null;

const tools = {
  say: (text) => said.push(text),
  warn: (text) => said.push(`warning: ${text}`),
  url: (path) => path,
  samples: [],
  fit: (source, [height, width]) => {
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(source, 0, 0, width, height);
    return canvas.getContext("2d").getImageData(0, 0, width, height);
  },
  toTensor: ({ data, width, height }, channels, [low, high]) => {
    const made = new Float32Array(channels * width * height);
    for (let p = 0; p < width * height; p++) {
      for (let c = 0; c < channels; c++) {
        made[c * width * height + p] = low + (data[4 * p + c] / 255) * (high - low);
      }
    }
    return made;
  },
};

globalThis.start = (kind, model) => {
  mounted?.destroy();
  given.length = said.length = 0;
  document.querySelector("main").replaceChildren();
  const take = async (feeds, shown) => {
    const copy = Object.entries(feeds).map(([name, { data, dims }]) => [name, { data: data.slice(), dims }]);
    given.push({ feeds: Object.fromEntries(copy), shown });
    await new Promise((go) => setTimeout(go, delay));
  };
  mounted = { draw, latent }[kind].mount(document.querySelector("main"), model, take, tools);
};
globalThis.stop = () => mounted.destroy();
globalThis.last = (name) => [...given.at(-1).feeds[name].data];
// Nothing asked for since two frames ago is still to come.
globalThis.settled = () =>
  new Promise((go) => {
    const count = given.length;
    const wait = (frames) => requestAnimationFrame(() => (frames ? wait(frames - 1) : setTimeout(check, delay)));
    const check = () => (given.length === count && count ? go(count) : settled().then(go));
    wait(3);
  });
