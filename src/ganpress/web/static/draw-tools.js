// What both canvases share: buttons with keys, undo, a cursor for the keyboard, and sending no more
// than the models can do.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Calls `send` once a frame at most, and never while its last promise is open; what was asked for
// meanwhile is sent once, as it is then.
export function newestOnly(send) {
  let busy = false;
  let asked = false;
  let alive = true;
  async function run() {
    asked = true;
    if (busy) return;
    busy = true;
    while (asked && alive) {
      await new Promise((go) => requestAnimationFrame(go));
      asked = false;
      try {
        if (alive) await send();
      } catch (error) {
        console.error(error); // the page has said what is wrong; the next one may do
      }
    }
    busy = false;
  }
  run.stop = () => (alive = false);
  return run;
}

// Steps that can be taken back: `steps` is a plain array, the owner redraws after each change.
export class History {
  constructor(kept) {
    this.steps = kept?.steps ?? [];
    this.undone = kept?.undone ?? [];
  }
  add(step) {
    this.steps.push(step);
    this.undone.length = 0;
  }
  undo() {
    return this.steps.length > 0 && this.undone.push(this.steps.pop()) > 0;
  }
  redo() {
    return this.undone.length > 0 && this.steps.push(this.undone.pop()) > 0;
  }
}

// A row of buttons. Each: {id, label, icon, key, act, choice}; of a choice, one is pressed.
export function toolbar(name, buttons) {
  const made = new Map();
  for (const { id, label, icon, key, act, choice } of buttons) {
    const button = element(
      "button",
      {
        type: "button",
        class: "draw-tool",
        "aria-keyshortcuts": key,
        "aria-pressed": choice ? "false" : undefined,
        title: key ? `${label} (${key.split(" ")[0].replace("Control", "Ctrl")})` : label,
        onclick: act,
      },
      icon ? picture(icon) : "",
      element("span", {}, label),
    );
    made.set(id, button);
  }
  const bar = element("div", { class: "draw-tools", role: "group", "aria-label": name });
  bar.append(...made.values());
  const press = (id) => {
    for (const [other, button] of made) {
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", other === id);
    }
  };
  return { bar, press, button: (id) => made.get(id) };
}

function picture(d) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  for (const [name, value] of [["viewBox", "0 0 24 24"], ["aria-hidden", "true"]]) {
    svg.setAttribute(name, value);
  }
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

export const ICONS = {
  pen: "M4 20l1-5L16 4l4 4L9 19z M14 6l4 4",
  eraser: "M9 20h11 M4 14l9-9 7 7-8 8H8z M9 9l7 7",
  brush: "M19 4l-8 9 M11 13c-3-1-5 1-5 3s-1 3-3 3c4 3 10 1 10-3 0-1-1-2-2-3z",
  fill: "M11 4l8 8-8 7-7-7 8-8 M20 15c1 2 2 3 2 4a2 2 0 0 1-4 0c0-1 1-2 2-4z",
  rectangle: "M4 6h16v12H4z",
  undo: "M9 7L4 11l5 4 M4 11h10a5 5 0 0 1 0 10h-3",
  redo: "M15 7l5 4-5 4 M20 11H10a5 5 0 0 0 0 10h3",
  clear: "M5 7h14 M10 7V4h4v3 M7 7l1 13h8l1-13",
};

// Keys that work wherever the focus is in `root`, but for fields that need them themselves.
export function shortcuts(root, keys) {
  root.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey;
    if (event.altKey || event.defaultPrevented) return;
    if (!command && event.target.matches("input[type=search], input[type=text], select")) return;
    const shift = event.shiftKey && command ? "Shift+" : "";
    const name = `${command ? "Control+" : ""}${shift}${event.key.toLowerCase()}`;
    const act = keys[name];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

// Pointers on a canvas, as places from 0 to 1; one at a time, and no palm beside a stylus.
export function followPointers(canvas, { start, move, end }) {
  let active = null;
  let stylusAt = -Infinity;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const isPalm = (event) => event.pointerType === "touch" && event.timeStamp - stylusAt < 2000;
  canvas.addEventListener("pointerdown", (event) => {
    if (active !== null || isPalm(event) || ![0, 5].includes(event.button)) return;
    active = event.pointerId;
    if (event.pointerType === "pen") stylusAt = event.timeStamp;
    canvas.setPointerCapture(active);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    start(...place(event), event.button === 5); // 5: the eraser of a stylus
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "pen") stylusAt = event.timeStamp;
    if (event.pointerId !== active) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) move(...place(one));
  });
  const stop = (event) => {
    if (event.pointerId !== active) return;
    active = null;
    end(event.type === "pointercancel");
  };
  canvas.addEventListener("pointerup", stop);
  canvas.addEventListener("pointercancel", stop);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}

// A cross on the canvas that arrow keys move, in steps of its grid.
//   grid: [height, width] in steps; moved(x, y), from 0 to 1, after each step; press() on Space.
export function keyboardCursor(frame, canvas, { grid, moved, press, lift }) {
  const cross = element("div", { class: "draw-cursor", "aria-hidden": "true", hidden: true });
  frame.append(cross);
  const at = [grid[1] >> 1, grid[0] >> 1];
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const place = () => [(at[0] + 0.5) / grid[1], (at[1] + 0.5) / grid[0]];
  const show = () => {
    const [x, y] = place();
    cross.hidden = false;
    cross.style.left = `${100 * x}%`;
    cross.style.top = `${100 * y}%`;
  };
  canvas.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) {
      const far = event.shiftKey ? 8 : 1;
      for (let step = 0; step < far; step++) {
        at[0] = Math.min(grid[1] - 1, Math.max(0, at[0] + way[0]));
        at[1] = Math.min(grid[0] - 1, Math.max(0, at[1] + way[1]));
        moved(...place());
      }
      show();
    } else if (event.key === " " || event.key === "Enter") {
      show();
      press(...place());
    } else if (event.key === "Escape") lift();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && show());
  canvas.addEventListener("blur", () => {
    lift();
    cross.hidden = true;
  });
  canvas.addEventListener("pointerdown", () => (cross.hidden = true));
  return { isDown: (down) => cross.classList.toggle("draw-down", down), at: () => [...at] };
}
