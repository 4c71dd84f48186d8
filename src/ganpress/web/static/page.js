// The page: picks models, mounts what gives their inputs, runs them and shows the pictures.
import { Card, gain } from "./cards.js";
import { divide } from "./compare.js";
import { Engine, STOPPED, backendsHere, inWords, nameOf, threadsHere } from "./engine.js";
import { fit, toTensor } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const asked = new URLSearchParams(location.search);
const threads = threadsHere(Number(asked.get("threads")));
const SIDES = ["left", "right"];
const MODULES = {
  photo: ["Photo", "./photo.js"],
  camera: ["Camera", "./camera.js"],
  draw: ["Draw", "./draw.js"],
  labels: ["Labels", "./draw.js"],
  latent: ["Code", "./latent.js"],
};

let site;
let engine;
let mounted = [];
let feeds = {};
let pending = null;
let working = null;
const shown = { left: null, right: null }; // {model, card, canvas, ready} of each side

const state = (name) => (root.dataset.state = name);
const say = (text) => ($("say").textContent = text);

// Warnings by what they are about, so that one goes when its reason does.
const warnings = new Map();
function warn(about, text) {
  if ((warnings.get(about) ?? "") === text) return; // screen readers read what is put there again
  if (text) warnings.set(about, text);
  else warnings.delete(about);
  $("warnings").replaceChildren(
    ...[...warnings.values()].map((one) => {
      const line = document.createElement("p");
      line.className = "warning";
      line.textContent = one;
      return line;
    }),
  );
}

// Two models can be shown together where they read the same.
const reads = (model) => JSON.stringify(Object.entries(model.inputs).map(([n, { dims }]) => [n, dims]).sort());

// --- engine ---------------------------------------------------------------------------------------

async function startEngine(backends) {
  for (const backend of backends) {
    try {
      engine?.stop();
      engine = await Engine.start(backend, threads);
      root.dataset.backend = backend;
      root.dataset.threads = String(threads);
      return true;
    } catch (error) {
      warn("engine", backend === backends.at(-1) ? error.message : "");
    }
  }
  engine = null;
  return false;
}

function offerBackends(backends) {
  const select = $("ways");
  select.replaceChildren(...backends.map((b) => new Option(nameOf(b, threads), b)));
  select.value = engine?.backend ?? backends[0];
  select.disabled = backends.length < 2;
  select.onchange = async () => {
    if (!(await startEngine([select.value]))) return state("failed");
    for (const side of SIDES) if (shown[side]) await loadSide(side);
    submit(feeds);
  };
  if (engine?.backend === "wasm" && threads === 1 && !globalThis.crossOriginIsolated) {
    say("One thread only: this host does not send the headers that threads need (docs/web.md).");
  }
}

// --- models ---------------------------------------------------------------------------------------

async function loadSide(side) {
  const one = shown[side];
  if (!one) return;
  one.ready = false;
  one.card.forget();
  warn(side, "");
  state("loading");
  try {
    await engine.load(one.model);
    one.ready = true;
  } catch (error) {
    if (canFallBack()) return fallBack(error);
    warn(side, inWords(error.message, one.model.title));
  }
}

const canFallBack = () => engine?.backend === "webgpu" && [...$("ways").options].some((o) => o.value === "wasm");

async function fallBack(error) {
  say(`WebGPU cannot run these models (${error.message}): WebAssembly does.`);
  await startEngine(["wasm"]);
  $("ways").value = "wasm";
  for (const side of SIDES) await loadSide(side);
}

async function choose(side, id) {
  const old = shown[side];
  const model = site.models.find((m) => m.id === id);
  if (old) old.ready = false; // what still waits is not run with it
  if (old && engine && shown.left?.model !== shown.right?.model) await engine.drop(old.model).catch(() => {});
  const canvas = $(side);
  shown[side] = model ? { model, canvas, card: new Card(model, canvas), ready: false } : null;
  refreshCaptions();
  canvas.setAttribute("aria-label", model ? `Picture of ${model.title}` : "");
  $("cards").replaceChildren(...SIDES.filter((s) => shown[s]).map((s) => shown[s].card.root));
  if (model && engine) await loadSide(side);
}

// By their role where they differ in it, else by title; and how long the network took.
function refreshCaptions() {
  const roles = SIDES.map((side) => shown[side]?.model.role);
  const byRole = roles[0] && roles[1] && roles[0] !== roles[1];
  for (const side of SIDES) {
    const one = shown[side];
    const time = one?.card.median ? ` · ${one.card.median.toFixed(1)} ms` : "";
    const parts = one ? [byRole ? one.model.role : one.model.title, time] : [];
    document.querySelector(`.side.${side} figcaption`).replaceChildren(...parts.map((textContent) => Object.assign(document.createElement("span"), { textContent })));
  }
}

function offerModels() {
  const [left, right] = [$("pick-left"), $("pick-right")];
  left.replaceChildren(...site.models.map((m) => new Option(m.title, m.id)));
  left.onchange = async () => {
    await choose("left", left.value);
    await offerRight();
    await mountInput();
  };
  right.onchange = async () => {
    await choose("right", right.value);
    refreshView();
    submit(feeds);
  };
  left.parentElement.parentElement.hidden = site.models.length < 2;
}

// The right one of those that read what the left one reads.
async function offerRight(wanted = "") {
  const own = shown.left.model;
  const alike = site.models.filter((m) => m !== own && reads(m) === reads(own));
  const select = $("pick-right");
  select.replaceChildren(...alike.map((m) => new Option(m.title, m.id)), new Option("none", ""));
  const chosen = alike.find((m) => m.id === wanted) ?? alike.find((m) => m.role === "student") ?? alike[0];
  select.value = wanted === "none" ? "" : (chosen?.id ?? "");
  await choose("right", select.value);
  refreshView();
}

// --- inputs ---------------------------------------------------------------------------------------

function kindsOf(model) {
  const kinds = [];
  if (model.inputs.image) kinds.push("photo", "camera", "draw");
  if (model.inputs.semantics) kinds.push("labels");
  return kinds.length ? kinds : ["latent"];
}

let mounting = 0; // counts, so that of two quick choices the last one stays

async function mountInput(wanted = "") {
  const turn = ++mounting;
  const { model } = shown.left;
  const kinds = kindsOf(model);
  const kind = kinds.includes(wanted) ? wanted : kinds.includes(model.input) ? model.input : kinds[0];
  const tabs = $("tabs");
  tabs.hidden = kinds.length < 2;
  if (tabs.hidden) ["role", "aria-labelledby"].forEach((name) => $("panel").removeAttribute(name));
  else Object.entries({ role: "tabpanel", "aria-labelledby": `tab-${kind}` }).forEach(([n, v]) => $("panel").setAttribute(n, v));
  tabs.replaceChildren(...kinds.map((k) => tab(k, k === kind)));
  feeds = {};
  mounted.forEach((one) => one.destroy());
  mounted = [];
  for (const id of ["panel", "code"]) $(id).replaceChildren();
  warn("input", "");
  await mountModule("panel", kind, turn);
  if (model.latent && kind !== "latent") await mountModule("code", "latent", turn);
}

async function mountModule(place, kind, turn) {
  try {
    const { mount } = await import(MODULES[kind][1]);
    if (turn !== mounting) return;
    mounted.push(mount($(place), shown.left.model, submit, toolsFor(shown.left.model)));
  } catch (error) {
    warn("input", `The input '${MODULES[kind][0]}' cannot be shown (${error.message}).`);
  }
}

function tab(kind, selected) {
  const button = document.createElement("button");
  button.type = "button";
  button.role = "tab";
  button.id = `tab-${kind}`;
  button.textContent = MODULES[kind][0];
  button.setAttribute("aria-selected", String(selected));
  button.setAttribute("aria-controls", "panel");
  button.tabIndex = selected ? 0 : -1;
  button.onclick = () => {
    mountInput(kind);
    $(`tab-${kind}`).focus();
  };
  button.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const all = [...$("tabs").children];
    all.at((all.indexOf(button) + step) % all.length).click();
  };
  return button;
}

function toolsFor(model) {
  const channels = model.inputs.image?.dims[1] ?? 3;
  return {
    say,
    warn: (text) => warn("input", text),
    url: (path) => new URL(path, document.baseURI).href,
    samples: site.samples,
    fit: (source, size) => fit(source, size, channels),
    toTensor,
  };
}

// --- running --------------------------------------------------------------------------------------

// Newer inputs take the place of those that still wait. Resolves when nothing waits any more.
function submit(newer) {
  feeds = { ...feeds, ...newer };
  pending = copied(feeds);
  working ??= work().finally(() => (working = null));
  return working;
}

const copied = (all) =>
  Object.fromEntries(Object.entries(all).map(([n, { data, dims }]) => [n, { data: data.slice(), dims: [...dims] }]));

const visible = () => {
  const { view } = $("stage").dataset;
  return SIDES.filter((side) => shown[side]?.ready && (view === "both" || view === "beside" || view === side));
};

async function work() {
  while (pending && engine) {
    const inputs = pending;
    pending = null;
    if (!Object.keys(shown.left?.model.inputs ?? {}).every((name) => inputs[name])) continue;
    state("running");
    let good = visible().length > 0;
    for (const side of visible()) good = (await runSide(side, inputs)) && good;
    if (good) root.dataset.made = String(Number(root.dataset.made) + 1);
    refreshCaptions();
    $("measure").disabled = measuring || !good;
    $("gain").textContent = gain(shown.left?.card, shown.right?.card);
    if (!pending) state(good ? "ready" : "failed");
  }
}

async function runSide(side, inputs) {
  const one = shown[side];
  const began = performance.now();
  try {
    const { pixels, width, height, ms } = await engine.run(one.model, inputs);
    if (shown[side] !== one) return false;
    const { canvas } = one;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    $("stage").style.setProperty("--ratio", `${width} / ${height}`);
    canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    one.card.took(ms, performance.now() - began);
    warn(side, "");
    return true;
  } catch (error) {
    if (shown[side] !== one || error.message === STOPPED) return false;
    if (canFallBack()) {
      await fallBack(error); // a GPU can be lost at any time
      pending ??= inputs;
    } else warn(side, inWords(error.message, one.model.title));
    return false;
  }
}

let measuring = false;

async function measure() {
  measuring = true;
  for (const side of SIDES) shown[side]?.card.forget();
  for (let k = 0; k < 20 && visible().length; k++) {
    say(`Measuring, ${k + 1} of 20`);
    await submit(feeds);
  }
  const names = visible().map((side) => shown[side].model.title);
  say(`Measured: ${names.join(" and ")}, medians of 20 pictures, one model after the other.`);
  measuring = false;
  $("measure").disabled = !names.length;
}

// --- the view -------------------------------------------------------------------------------------

function refreshView() {
  const alone = !shown.right;
  $("stage").dataset.view = alone ? "left" : document.querySelector("input[name=view]:checked").value;
  $("views").hidden = alone;
  $("divider").hidden = $("stage").dataset.view !== "both";
}

async function open() {
  $("unserved")?.remove();
  divide($("stage"), $("divider"));
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.onchange = () => {
      refreshView();
      submit(feeds);
    };
  }
  $("measure").onclick = measure;
  const answer = await fetch("models.json");
  if (!answer.ok) throw new Error(`models.json is not there (${answer.status}). Write the page again: ganpress site.`);
  site = await answer.json().catch(() => null);
  if (!site?.models?.length) throw new Error("models.json is not whole, or of another program. Write the page again: ganpress site.");
  document.title = `${site.models.map((m) => m.title).join(" and ")} – ganpress`;
  $("about").textContent = `ganpress ${site.ganpress}, onnxruntime-web ${site.onnxruntime.version}.`;
  offerModels();
  const here = await backendsHere(site.onnxruntime.webgpu);
  const wanted = here.includes(asked.get("backend")) ? [asked.get("backend")] : here;
  await startEngine(wanted);
  offerBackends(here);
  const first = site.models.find((m) => m.id === asked.get("left")) ?? site.models[0];
  $("pick-left").value = first.id;
  await choose("left", first.id);
  await offerRight(asked.get("right") ?? "");
  await mountInput(asked.get("input") ?? "");
  if (!pending && !working) state(engine && shown.left.ready ? "ready" : "failed");
}

open().catch((error) => {
  warn("page", error.message);
  state("failed");
});
