// Input module: the code that a generator makes its picture of, or that it reads beside a photo.
// Seeds, the mixing of two codes, truncation, edit directions, single numbers.
import { element, newestOnly } from "./draw-tools.js";
import { TorchGenerator } from "./latent-seeds.js";

const REACH = 3; // standard deviations to each side of a slider
const SHOWN = 8; // single numbers at once
const SEEDS = 10000; // that "Another one" draws from

export function mount(container, model, onInputs) {
  const root = element("div", { class: "latent" });
  container.append(root);
  const { latent } = model;
  const names = Object.keys(model.inputs);
  const state = { seed: 0, other: 1, noise: 0, mix: 0, mixing: "fine", psi: 1, label: 0 };
  state.amounts = new Float32Array(latent.directions.length);
  state.moved = new Map(); // numbers of the code that were set by hand

  const send = newestOnly(() => onInputs(feedsOf(model, state)));
  const changed = (change) => (value) => {
    change(value);
    send();
  };

  const numbers = numbersPart(latent, () => codeOf(model, state), state.moved, send);
  const seeded = changed((v) => {
    state.seed = v;
    numbers.refresh();
  });
  const parts = [seedPart(names.includes("image") ? "The style" : "The picture", "latent-seed", state.seed, seeded)];
  if (latent.classes) parts.push(classPart(latent.classes, changed((v) => (state.label = v))));
  if (names.includes("psi")) parts.push(psiPart(changed((v) => (state.psi = v))));
  if (names.some((name) => name.startsWith("noise_"))) {
    parts.push(noisePart(changed(() => (state.noise = Math.floor(Math.random() * SEEDS)))));
  }
  parts.push(mixingPart(latent.layers, names.includes("mix"), state, send));
  if (names.includes("amounts") && state.amounts.length) {
    parts.push(directionsPart(latent.directions, changed(([k, v]) => (state.amounts[k] = v))));
  }
  parts.push(numbers);
  root.append(...parts);
  send();
  return { destroy: () => send.stop() };
}

// The seed's code, with the numbers that were set by hand.
function codeOf({ latent }, { seed, moved }) {
  const code = new TorchGenerator(seed).normal(latent.dim);
  for (const [k, value] of moved) code[k] = value;
  return code;
}

// Everything that the model reads, by name, but for a photo.
export function feedsOf(model, state) {
  const { latent, inputs } = model;
  const code = codeOf(model, state);
  const other = new TorchGenerator(state.other).normal(latent.dim);
  const own = inputs.mix ? code : blended(code, other, state.mix);
  const noise = new TorchGenerator(state.noise);
  noise.normal(latent.dim); // torch draws the code first, then the maps
  const feeds = {};
  for (const [name, { dims }] of Object.entries(inputs)) {
    const shape = dims.map((n) => n ?? 1);
    const count = shape.reduce((a, b) => a * b, 1);
    if (name === "image") continue;
    if (name === latent.input) feeds[name] = { data: own, dims: shape };
    else if (name === "other") feeds[name] = { data: other, dims: shape };
    else if (name === "mix") feeds[name] = { data: mixOf(count, state), dims: shape };
    else if (name === "psi") feeds[name] = { data: Float32Array.of(state.psi), dims: shape };
    else if (name === "amounts") feeds[name] = { data: state.amounts.slice(), dims: shape };
    else if (name === "y") feeds[name] = { data: oneOf(count, state.label), dims: shape };
    else feeds[name] = { data: noise.normal(count), dims: shape }; // noise maps, in their order
  }
  return feeds;
}

// How much of the second code each layer reads: of StyleGAN2's mixing 0 or 1.
export function mixOf(layers, { mix, mixing }) {
  const much = new Float32Array(layers);
  if (mixing === "blend" || layers === 1) return much.fill(mix);
  const count = Math.round(mix * layers);
  return mixing === "fine" ? much.fill(1, layers - count) : much.fill(1, 0, count);
}

// Two standard normal codes, mixed so that the result is one, too.
export function blended(one, other, mix) {
  const length = Math.hypot(1 - mix, mix);
  return one.map((value, k) => ((1 - mix) * value + mix * other[k]) / length);
}

function oneOf(count, label) {
  const data = new Float32Array(count);
  data[label] = 1;
  return data;
}

// --- the controls --------------------------------------------------------------------------------

function part(title, ...children) {
  return element("fieldset", { class: "latent-part" }, element("legend", {}, title), ...children);
}

function slider(id, label, { min, max, step, value, note = "", said }, change) {
  const input = element("input", { type: "range", id, min, max, step, value });
  const output = element("output", { for: id });
  const apply = () => {
    output.textContent = said(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    apply();
    change(Number(input.value));
  });
  apply();
  const row = element("div", { class: "latent-slider" });
  row.append(element("label", { for: id }, label), output, input);
  if (note) row.append(element("small", {}, note));
  row.set = (next) => {
    input.value = next;
    apply();
  };
  return row;
}

function seedPart(title, id, seed, change) {
  const input = element("input", { type: "number", id, min: "0", max: "4294967295", step: "1", value: seed });
  const apply = () => {
    const value = Number(input.value);
    const fits = input.value !== "" && Number.isInteger(value) && value >= 0 && value < 2 ** 32;
    input.setAttribute("aria-invalid", !fits);
    if (fits) change(value);
  };
  input.addEventListener("input", apply);
  const another = element("button", {
    type: "button",
    onclick: () => {
      input.value = Math.floor(Math.random() * SEEDS);
      apply();
    },
  }, "Another one");
  const row = element("div", { class: "latent-row" });
  row.append(element("label", { for: id }, "Seed"), input, another);
  return part(title, row);
}

function psiPart(change) {
  return part(
    "Truncation",
    slider("latent-psi", "ψ", {
      min: 0, max: 1, step: 0.05, value: 1, said: (v) => v.toFixed(2),
      note: "1: as drawn; towards 0 nearer to the mean picture",
    }, change),
  );
}

function noisePart(change) {
  const button = element("button", { type: "button", onclick: () => change() }, "Other noise");
  return part("Noise", element("div", { class: "latent-row" }, button));
}

function classPart(count, change) {
  const select = element("select", { id: "latent-class", onchange: () => change(Number(select.value)) });
  for (let k = 0; k < count; k++) select.append(element("option", { value: k }, `class ${k}`));
  const row = element("div", { class: "latent-row" });
  row.append(element("label", { for: "latent-class" }, "Class"), select);
  return part("Class", row);
}

function mixingPart(layers, perLayer, state, send) {
  const group = seedPart("Mix with a second one", "latent-other", state.other, (seed) => {
    state.other = seed;
    send();
  });
  const isWhole = () => perLayer && layers > 1 && state.mixing !== "blend";
  const said = (mix) => {
    if (!isWhole()) return `${Math.round(100 * mix)} %`;
    const count = Math.round(mix * layers);
    if (!count) return "no layer";
    return count === layers ? "all layers" : `${state.mixing === "fine" ? "last" : "first"} ${count} of ${layers}`;
  };
  const amount = slider("latent-mix", "Of the second", {
    min: 0, max: 1, step: 1 / (perLayer && layers > 1 ? layers : 20), value: 0, said,
  }, (mix) => {
    state.mix = mix;
    send();
  });
  if (perLayer && layers > 1) {
    const kinds = { fine: "its fine layers", coarse: "its coarse layers", blend: "a bit of all" };
    const select = element("select", {
      id: "latent-mixing",
      onchange: () => {
        state.mixing = select.value;
        amount.set(state.mix);
        send();
      },
    });
    for (const [kind, label] of Object.entries(kinds)) select.append(element("option", { value: kind }, label));
    const row = element("div", { class: "latent-row" });
    row.append(element("label", { for: "latent-mixing" }, "Take"), select);
    group.append(row);
  }
  group.append(amount);
  return group;
}

function directionsPart(directions, change) {
  const rows = directions.map(({ name, ratio, deviation }, k) => {
    const label = /^\d+$/.test(name) ? `Direction ${name}` : name;
    const note = deviation === 0 ? "the student has none" : `${(100 * ratio).toFixed(1)} % of the variance`;
    return slider(`latent-direction-${k}`, label, {
      min: -REACH, max: REACH, step: 0.1, value: 0, note: ratio ? note : "",
      said: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1).replace("-", "−")} σ`,
    }, (v) => change([k, v]));
  });
  const zero = element("button", {
    type: "button",
    onclick: () => rows.forEach((row, k) => {
      row.set(0);
      change([k, 0]);
    }),
  }, "All to 0");
  const grid = element("div", { class: "latent-grid" }, ...rows);
  return part("Edit directions", grid, element("div", { class: "latent-row" }, zero));
}

// Single numbers of the code, `SHOWN` at once. Those set by hand stay when the seed changes.
function numbersPart({ input, dim }, code, moved, send) {
  const grid = element("div", { class: "latent-grid" });
  const first = element("select", { id: "latent-first", onchange: () => fill() });
  for (let k = 0; k < dim; k += SHOWN) {
    first.append(element("option", { value: k }, `${k + 1} to ${Math.min(dim, k + SHOWN)} of ${dim}`));
  }
  const fill = () => {
    const from = Number(first.value);
    const now = code();
    grid.replaceChildren();
    for (let k = from; k < Math.min(dim, from + SHOWN); k++) {
      const value = Math.max(-REACH, Math.min(REACH, now[k]));
      grid.append(slider(`latent-number-${k}`, `${input} ${k + 1}`, {
        min: -REACH, max: REACH, step: 0.05, value, said: (v) => v.toFixed(2).replace("-", "−"),
      }, (v) => {
        moved.set(k, v);
        send();
      }));
    }
  };
  const reset = element("button", {
    type: "button",
    onclick: () => {
      moved.clear();
      fill();
      send();
    },
  }, "As the seed has them");
  const row = element("div", { class: "latent-row" });
  row.append(element("label", { for: "latent-first" }, "Numbers"), first, reset);
  const details = element("details", { class: "latent-part" }, element("summary", {}, `The numbers of ${input}`), row, grid);
  details.refresh = () => details.open && fill();
  details.addEventListener("toggle", details.refresh);
  return details;
}
