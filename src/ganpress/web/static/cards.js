// What is known of each model, and how fast it is here.
import { element } from "./element.js";

const KEPT = 25; // times that the median is of
const FEW = 5; // times below which two models are not compared

export const megabytes = (bytes) => (bytes < 1e5 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(2)} MB`);
export const macs = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} G` : `${(n / 1e6).toFixed(1)} M`);
const times = (ratio) => `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(1)}×`;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function row(list, name, text) {
  const value = element("dd", "", text);
  list.append(element("dt", "", name), value);
  return value;
}

export class Card {
  constructor(model, canvas) {
    this.model = model;
    this.runs = [];
    this.root = element("article", "card");
    const title = element("h2", "", model.title);
    if (model.role) title.append(" ", element("span", "role", model.role));
    const list = element("dl");
    this.ms = row(list, "Network", "–");
    this.fps = row(list, "Pictures", "–");
    row(list, "File", megabytes(model.bytes));
    if (model.macs) row(list, "MACs", macs(model.macs));
    const actions = element("p", "actions");
    const save = element("button", "", "Save picture");
    save.type = "button";
    save.onclick = () => canvas.toBlob((blob) => keep(blob, `${model.id}.png`));
    const file = element("a", "", "Save model (.onnx)");
    file.href = model.file;
    file.download = model.file.split("/").at(-1);
    actions.append(save, file);
    this.root.append(title, list, actions);
  }

  // ms: of the network; whole: with everything the page does for the picture.
  took(ms, whole) {
    this.runs.push({ ms, whole });
    if (this.runs.length > KEPT) this.runs.shift();
    const rate = 1000 / median(this.runs.map((r) => r.whole));
    this.ms.textContent = `${this.median.toFixed(1)} ms`;
    const known = Number.isFinite(rate); // some browsers' clocks go in steps of 100 ms
    this.fps.textContent = known ? `${rate >= 10 ? rate.toFixed(0) : rate.toFixed(1)} per s` : "–";
    this.root.dataset.ms = this.median.toFixed(2);
    this.root.dataset.fps = rate.toFixed(2);
  }

  get median() {
    return this.runs.length ? median(this.runs.map((r) => r.ms)) : NaN;
  }

  forget() {
    this.runs = [];
  }

  failed(text) {
    this.root.append(element("p", "warning", text));
  }
}

function keep(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// What the second model gains on the first, or "".
export function gain(one, other) {
  if (!one || !other) return "";
  const [small, large] = one.model.bytes < other.model.bytes ? [one, other] : [other, one];
  const said = [compared(large.model.bytes / small.model.bytes, "# smaller on disk", "")];
  if (small.model.macs && large.model.macs) said.push(compared(large.model.macs / small.model.macs, "# fewer MACs", "# more MACs"));
  if (Math.min(one.runs.length, other.runs.length) >= FEW) said.push(compared(large.median / small.median, "# faster here", "# slower here"));
  const words = said.filter(Boolean).join(", ");
  return words && `${small.model.title}: ${words} than ${large.model.title}.`;
}

// "2.0× fewer MACs" of how many times as many the other has; "" where both have about as many.
function compared(ratio, less, more) {
  if (!(ratio > 0 && ratio < Infinity) || Math.max(ratio, 1 / ratio) < 1.05) return "";
  return ratio > 1 ? less.replace("#", times(ratio)) : more.replace("#", times(1 / ratio));
}
