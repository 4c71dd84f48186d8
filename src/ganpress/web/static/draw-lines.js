// A canvas for outlines: strokes of a pen, kept as vectors, so that the model is given lines of the
// width and smoothness that it was trained on, whatever the size on the screen.
import { DRAWINGS } from "./draw-examples.js";
import {
  element, followPointers, History, ICONS, keyboardCursor, newestOnly, shortcuts, toolbar,
} from "./draw-tools.js";

export const UNITS = 72; // of the picture's shorter side: what places and widths are given in
const SHARPNESS = 512; // pixels of the canvas's shorter side on the screen
const ROUNDED = 1.5; // units
const ERASER = 3; // times the pen's width
const kept = new Map(); // drawings by size, for when the module is mounted again

export function mountLines(root, { size, palette, stroke, picture }, onInputs, tools) {
  const [paper, ink] = palette.map(({ colour }) => `rgb(${colour.join(" ")})`);
  const trained = stroke * UNITS;
  const key = `${size} ${paper} ${ink}`;
  const history = new History(kept.get(key));
  kept.set(key, history);
  const state = { tool: "pen", width: trained, open: null };
  const screen = surface(size, Math.max(1, Math.round(SHARPNESS / Math.min(...size))));
  const small = surface(size, 1);
  const { canvas } = screen;
  const redraw = (surface) => render(surface, [...history.steps, state.open], paper, ink);

  const send = newestOnly(() => {
    redraw(small);
    const shown = small.context.getImageData(0, 0, size[1], size[0]);
    return onInputs(picture(shown, tools), shown);
  });
  const changed = () => {
    redraw(screen);
    controls.button("undo").disabled = !history.steps.length;
    controls.button("redo").disabled = !history.undone.length;
    send();
  };

  const scale = [(UNITS * size[1]) / Math.min(...size), (UNITS * size[0]) / Math.min(...size)];
  const begin = (x, y, erases = state.tool === "eraser") => {
    const width = erases ? ERASER * state.width : state.width;
    state.open = { erases, width, points: [[x * scale[0], y * scale[1]]] };
    changed();
  };
  const extend = (x, y) => {
    const point = [x * scale[0], y * scale[1]];
    const last = state.open?.points.at(-1);
    if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.15) return;
    state.open.points.push(point);
    changed();
  };
  const finish = (cancelled = false) => {
    if (!state.open) return;
    if (!cancelled) history.add(state.open);
    state.open = null;
    cursor.isDown(false);
    changed();
  };

  const act = {
    pen: () => choose("pen"),
    eraser: () => choose("eraser"),
    undo: () => history.undo() && changed(),
    redo: () => history.redo() && changed(),
    clear: () => {
      finish();
      history.add({ clears: true });
      changed();
      tools.say("The canvas is empty.");
    },
  };
  const choose = (tool) => {
    finish();
    state.tool = tool;
    controls.press(tool);
  };
  const controls = toolbar("Drawing tools", [
    { id: "pen", label: "Pen", icon: ICONS.pen, key: "P", act: act.pen, choice: true },
    { id: "eraser", label: "Eraser", icon: ICONS.eraser, key: "E", act: act.eraser, choice: true },
    { id: "undo", label: "Undo", icon: ICONS.undo, key: "Control+Z", act: act.undo },
    { id: "redo", label: "Redo", icon: ICONS.redo, key: "Control+Y Control+Shift+Z", act: act.redo },
    { id: "clear", label: "Clear", icon: ICONS.clear, key: "Delete", act: act.clear },
  ]);
  const width = widthSlider(trained, (value) => (state.width = value));
  const frame = element("div", { class: "draw-frame" }, canvas);
  frame.style.aspectRatio = `${size[1]} / ${size[0]}`;
  const help = element(
    "p",
    { class: "draw-help", id: "draw-help" },
    "Draw closed shapes: the models colour what a line encloses. By keyboard: arrow keys move, " +
      "Space puts the pen down and lifts it, Shift moves further; P pen, E eraser, [ and ] width.",
  );
  const examples = exampleButtons((name) => {
    finish();
    history.add({ clears: true, example: name });
    changed();
    tools.say(`Example: ${name}.`);
  });
  canvas.setAttribute("aria-label", "Drawing canvas");
  canvas.setAttribute("aria-describedby", "draw-help");
  root.append(controls.bar, width.row, frame, examples, help);

  const cursor = keyboardCursor(frame, canvas, {
    grid: scale.toReversed().map(Math.round),
    moved: extend,
    press: (x, y) => {
      const lifts = Boolean(state.open);
      if (lifts) finish();
      else begin(x, y);
      cursor.isDown(!lifts);
      tools.say(lifts ? "Pen up." : `${state.tool === "pen" ? "Pen" : "Eraser"} down.`);
    },
    lift: () => finish(),
  });
  followPointers(canvas, {
    start: (x, y, erases) => (finish(), begin(x, y, erases || undefined)),
    move: extend,
    end: finish,
  });
  shortcuts(root, {
    p: act.pen, e: act.eraser, delete: act.clear, "[": () => width.step(-1), "]": () => width.step(1),
    "Control+z": act.undo, "Control+y": act.redo, "Control+Shift+z": act.redo,
  });
  controls.press("pen");
  if (!history.steps.length) history.add({ clears: true, example: DRAWINGS[0].name });
  changed();
  return { destroy: () => send.stop() };
}

// A canvas of the model's size, times `factor`; its units are `UNITS` to the shorter side.
function surface([height, width], factor) {
  const canvas = element("canvas", {
    class: "draw-canvas", width: width * factor, height: height * factor, tabindex: "0",
    role: "application",
  });
  const context = canvas.getContext("2d", { willReadFrequently: factor === 1 });
  const scale = (factor * Math.min(height, width)) / UNITS;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.lineCap = context.lineJoin = "round";
  return { canvas, context, corner: [(width * factor) / scale, (height * factor) / scale] };
}

export function render({ context, corner }, steps, paper, ink) {
  const empty = () => {
    context.fillStyle = paper;
    context.fillRect(0, 0, ...corner);
  };
  empty();
  for (const step of steps) {
    if (step?.clears) empty();
    if (step?.example) paintExample(context, corner, step.example, ink);
    if (step?.points) paintStroke(context, step, step.erases ? paper : ink);
  }
}

// Its points are rounded off, by `ROUNDED` at most: a trembling hand draws smooth lines, and a quick
// one, of which the browser sees few points, keeps its corners.
function paintStroke(context, { points, width }, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  if (points.length === 1) {
    context.arc(...points[0], width / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.moveTo(...points[0]);
  for (let k = 1; k + 1 < points.length; k++) {
    context.lineTo(...towards(points[k], points[k - 1]));
    context.quadraticCurveTo(...points[k], ...towards(points[k], points[k + 1]));
  }
  context.lineTo(...points.at(-1));
  context.stroke();
}

// From a point half the way to another, or less far where they are far apart.
function towards([x, y], [u, v]) {
  const part = Math.min(0.5, ROUNDED / Math.hypot(u - x, v - y));
  return [x + part * (u - x), y + part * (v - y)];
}

function paintExample(context, corner, name, ink) {
  const { strokes = [], dots = [] } = DRAWINGS.find((one) => one.name === name) ?? {};
  context.save();
  context.translate((corner[0] - UNITS) / 2, (corner[1] - UNITS) / 2);
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 2;
  for (const d of strokes) context.stroke(new Path2D(d));
  for (const d of dots) context.fill(new Path2D(d));
  context.restore();
}

function exampleButtons(show) {
  const row = element("div", { class: "draw-examples", role: "group", "aria-label": "Examples" });
  for (const { name, strokes, dots = [] } of DRAWINGS) {
    const small = surface([48, 48], 2);
    render(small, [{ clears: true, example: name }], "#fff", "#000");
    small.canvas.removeAttribute("tabindex");
    small.canvas.removeAttribute("role");
    small.canvas.setAttribute("aria-hidden", "true");
    row.append(
      element(
        "button",
        { type: "button", class: "draw-example", title: name, "aria-label": `Example: ${name}`,
          onclick: () => show(name) },
        small.canvas,
      ),
    );
  }
  return row;
}

// In units, from half to twice what the model was trained on, which is its middle.
function widthSlider(trained, change) {
  const input = element("input", {
    type: "range", id: "draw-width", min: "-4", max: "4", step: "1", value: "0",
  });
  const output = element("output", { for: "draw-width" });
  const apply = () => {
    const value = trained * 2 ** (Number(input.value) / 4);
    const said = Number(input.value) ? `${(value / trained).toFixed(2)} × as trained` : "as trained";
    output.textContent = said;
    input.setAttribute("aria-valuetext", said);
    change(value);
  };
  input.addEventListener("input", apply);
  apply();
  const row = element("div", { class: "draw-width" });
  row.append(element("label", { for: "draw-width" }, "Line width"), input, output);
  const step = (by) => {
    input.value = Number(input.value) + by;
    apply();
  };
  return { row, step };
}
