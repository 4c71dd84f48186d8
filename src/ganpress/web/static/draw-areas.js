// A canvas for label maps: every pixel has the id of a class, and the number of the thing it is of.
import { sceneFor } from "./draw-examples.js";
import {
  element, followPointers, ICONS, keyboardCursor, newestOnly, shortcuts, toolbar,
} from "./draw-tools.js";

const MOST_UNDO = 40;
const MANY = 24; // classes from which on they can be searched
const THING = 1000; // the first number of a thing; below are those of whole classes
const kept = new Map();

export function mountAreas(root, { size, classes, feeds, edges = false }, onInputs, tools) {
  const map = new AreaMap(size);
  const key = JSON.stringify([size, classes]);
  const past = kept.get(key) ?? { done: [exampleMap(map, classes, edges)], undone: [] };
  kept.set(key, past);
  map.set(past.done.at(-1));
  const colours = classes.map(({ colour }) => colour);
  const canvas = element("canvas", {
    class: "draw-canvas draw-pixels", width: size[1], height: size[0], tabindex: "0",
    role: "application", "aria-label": "Label map canvas", "aria-describedby": "draw-help",
  });
  const context = canvas.getContext("2d");
  const state = { tool: "brush", label: firstBrush(map.ids, classes.length), diameter: 1, from: null };

  const send = newestOnly(() => {
    const shown = map.picture(colours);
    return onInputs(feeds({ ids: map.ids, things: map.things, shown }, tools), shown);
  });
  const changed = () => {
    context.putImageData(map.picture(colours), 0, 0);
    controls.button("undo").disabled = past.done.length < 2;
    controls.button("redo").disabled = !past.undone.length;
    send();
  };
  const keep = () => {
    past.done.push(map.copy());
    if (past.done.length > MOST_UNDO) past.done.shift();
    past.undone.length = 0;
    state.from = null;
    changed();
  };

  const cell = (x, y) => [
    Math.min(size[1] - 1, Math.max(0, Math.floor(x * size[1]))),
    Math.min(size[0] - 1, Math.max(0, Math.floor(y * size[0]))),
  ];
  const begin = (x, y) => {
    const [column, row] = cell(x, y);
    const thing = edges && apart.checked ? map.nextThing() : state.label;
    state.from = { column, row, last: [column, row], thing };
    if (state.tool === "fill") {
      map.fill(column, row, state.label, thing);
      keep();
    } else extend(x, y);
  };
  const extend = (x, y) => {
    if (!state.from) return;
    const [column, row] = cell(x, y);
    const { from } = state;
    if (state.tool === "rectangle") {
      map.set(past.done.at(-1));
      map.rectangle(from.column, from.row, column, row, state.label, from.thing);
    } else map.line(...from.last, column, row, state.diameter, state.label, from.thing);
    from.last = [column, row];
    changed();
  };
  const finish = (cancelled = false) => {
    if (!state.from) return;
    cursor.isDown(false);
    if (!cancelled) return keep();
    map.set(past.done.at(-1));
    state.from = null;
    changed();
  };

  const choose = (tool) => {
    finish();
    state.tool = tool;
    controls.press(tool);
  };
  const travel = (from, to, least) => {
    finish();
    if (from.length <= least) return;
    to.push(from.pop());
    map.set(past.done.at(-1));
    changed();
  };
  const act = {
    brush: () => choose("brush"),
    fill: () => choose("fill"),
    rectangle: () => choose("rectangle"),
    undo: () => travel(past.done, past.undone, 1),
    redo: () => travel(past.undone, past.done, 0),
    clear: () => {
      finish();
      map.all(state.label);
      keep();
      tools.say(`All is ${classes[state.label].name}.`);
    },
    example: () => {
      finish();
      map.set(exampleMap(map, classes, edges));
      keep();
      tools.say("The example map.");
    },
  };
  const { undo, redo } = act;
  const controls = toolbar("Drawing tools", [
    { id: "brush", label: "Brush", icon: ICONS.brush, key: "B", act: act.brush, choice: true },
    { id: "fill", label: "Fill", icon: ICONS.fill, key: "F", act: act.fill, choice: true },
    { id: "rectangle", label: "Rectangle", icon: ICONS.rectangle, key: "R", act: act.rectangle, choice: true },
    { id: "undo", label: "Undo", icon: ICONS.undo, key: "Control+Z", act: undo },
    { id: "redo", label: "Redo", icon: ICONS.redo, key: "Control+Y Control+Shift+Z", act: redo },
    { id: "clear", label: "Fill all", icon: ICONS.clear, key: "Delete", act: act.clear },
    { id: "example", label: "Example", key: "X", act: act.example },
  ]);
  const width = brushSlider(Math.min(...size), (value) => (state.diameter = value));
  const apart = element("input", { type: "checkbox", id: "draw-apart", checked: true });
  const things = element("label", { class: "draw-apart", for: "draw-apart", hidden: !edges });
  things.append(apart, " Each stroke is a thing of its own (the model sees borders of things)");
  const palette = paletteOf(classes, state.label, (label) => {
    finish();
    state.label = label;
  });
  const frame = element("div", { class: "draw-frame" }, canvas);
  frame.style.aspectRatio = `${size[1]} / ${size[0]}`;
  const help = element(
    "p",
    { class: "draw-help", id: "draw-help" },
    "By keyboard: arrow keys move on the canvas, Space starts and ends a stroke or rectangle and " +
      "fills, Shift moves further; B brush, F fill, R rectangle, [ and ] width, X the example.",
  );
  root.append(controls.bar, width.row, things, frame, palette, help);

  const cursor = keyboardCursor(frame, canvas, {
    grid: size,
    moved: extend,
    press: (x, y) => {
      const ends = Boolean(state.from);
      if (ends) finish();
      else begin(x, y);
      cursor.isDown(Boolean(state.from));
      const name = classes[state.label].name;
      tools.say(state.from ? `${state.tool}: ${name}.` : `${name} painted.`);
    },
    lift: () => finish(),
  });
  followPointers(canvas, { start: begin, move: extend, end: finish });
  shortcuts(root, {
    b: act.brush, f: act.fill, r: act.rectangle, x: act.example, delete: act.clear,
    "[": () => width.step(-1), "]": () => width.step(1),
    "Control+z": undo, "Control+y": redo, "Control+Shift+z": redo,
  });
  controls.press("brush");
  changed();
  return { destroy: () => send.stop() };
}

// Ids and things of (height, width) pixels, row after row.
export class AreaMap {
  constructor([height, width]) {
    this.height = height;
    this.width = width;
    this.ids = new Uint16Array(height * width);
    this.things = new Uint32Array(height * width);
  }
  copy() {
    return { ids: this.ids.slice(), things: this.things.slice() };
  }
  set({ ids, things }) {
    this.ids.set(ids);
    this.things.set(things);
  }
  all(id) {
    this.ids.fill(id);
    this.things.fill(id);
  }
  nextThing() {
    return this.things.reduce((most, thing) => Math.max(most, thing), THING - 1) + 1;
  }
  put(column, row, id, thing) {
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return;
    this.ids[row * this.width + column] = id;
    this.things[row * this.width + column] = thing;
  }
  rectangle(x0, y0, x1, y1, id, thing) {
    for (let row = Math.min(y0, y1); row <= Math.max(y0, y1); row++) {
      for (let column = Math.min(x0, x1); column <= Math.max(x0, x1); column++) {
        this.put(column, row, id, thing);
      }
    }
  }
  disc(x, y, diameter, id, thing) {
    const radius = diameter / 2;
    const first = Math.ceil(0.5 - radius);
    for (let dy = first; dy < first + diameter; dy++) {
      for (let dx = first; dx < first + diameter; dx++) {
        const [u, v] = diameter % 2 ? [dx, dy] : [dx - 0.5, dy - 0.5];
        if (Math.hypot(u, v) < radius + 0.1) this.put(x + dx, y + dy, id, thing);
      }
    }
  }
  line(x0, y0, x1, y1, diameter, id, thing) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let k = 0; k <= steps; k++) {
      const [x, y] = [x0 + ((x1 - x0) * k) / steps, y0 + ((y1 - y0) * k) / steps];
      this.disc(Math.round(x), Math.round(y), diameter, id, thing);
    }
  }
  // All pixels of the same class and thing that hang together with this one by their sides.
  fill(column, row, id, thing) {
    const at = row * this.width + column;
    const [oldId, oldThing] = [this.ids[at], this.things[at]];
    if (oldId === id && oldThing === thing) return;
    const open = [at];
    while (open.length) {
      const p = open.pop();
      if (this.ids[p] !== oldId || this.things[p] !== oldThing) continue;
      this.ids[p] = id;
      this.things[p] = thing;
      const x = p % this.width;
      if (x > 0) open.push(p - 1);
      if (x + 1 < this.width) open.push(p + 1);
      if (p >= this.width) open.push(p - this.width);
      if (p + this.width < this.ids.length) open.push(p + this.width);
    }
  }
  picture(colours) {
    const made = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(made.data.buffer); // little-endian: ABGR
    const packed = colours.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    for (let p = 0; p < this.ids.length; p++) pixels[p] = packed[this.ids[p]];
    return made;
  }
}

// The scene of this label set, else bands and boxes of its first classes; as `AreaMap.copy`.
export function exampleMap({ height, width }, classes, edges) {
  const map = new AreaMap([height, width]);
  const { ground, areas } = sceneFor(classes.map(({ name }) => name));
  map.all(ground);
  for (const [id, [left, top, right, bottom]] of areas) {
    const [x0, x1] = [left, right].map((x) => Math.round(x * width));
    const [y0, y1] = [top, bottom].map((y) => Math.round(y * height));
    if (x1 > x0 && y1 > y0) map.rectangle(x0, y0, x1 - 1, y1 - 1, id, edges ? map.nextThing() : id);
  }
  return map.copy();
}

// The commonest class in front of the ground: what people will want to add.
function firstBrush(ids, count) {
  const seen = new Uint32Array(count);
  for (const id of ids) seen[id]++;
  const order = [...seen.keys()].sort((a, b) => seen[b] - seen[a]);
  return order[Math.min(1, count - 1)];
}

function paletteOf(classes, chosen, choose) {
  const list = element("div", { class: "draw-labels" });
  classes.forEach(({ name, colour }, id) => {
    const radio = element("input", {
      type: "radio", name: "draw-class", value: id, checked: id === chosen,
      onchange: () => choose(id),
    });
    const swatch = element("i", { "aria-hidden": "true" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    list.append(element("label", { class: "draw-label" }, radio, swatch, element("span", {}, name)));
  });
  const group = element("fieldset", { class: "draw-palette" }, element("legend", {}, "Paint with"));
  if (classes.length > MANY) group.append(searchField(list));
  group.append(list);
  return group;
}

function searchField(list) {
  const field = element("input", {
    type: "search", placeholder: "Find a class", "aria-label": "Find a class",
    oninput: () => {
      for (const label of list.children) {
        label.hidden = !label.textContent.toLowerCase().includes(field.value.toLowerCase().trim());
      }
    },
  });
  return field;
}

// The brush's diameter in pixels of the map.
function brushSlider(side, change) {
  const most = Math.max(2, Math.round(side / 4));
  const start = Math.max(1, Math.round(side / 12));
  const input = element("input", { type: "range", id: "draw-width", min: "1", max: most, value: start });
  const output = element("output", { for: "draw-width" });
  const apply = () => {
    output.textContent = `${input.value} px`;
    change(Number(input.value));
  };
  input.addEventListener("input", apply);
  apply();
  const row = element("div", { class: "draw-width" });
  row.append(element("label", { for: "draw-width" }, "Brush width"), input, output);
  const step = (by) => {
    input.value = Number(input.value) + by;
    apply();
  };
  return { row, step };
}
