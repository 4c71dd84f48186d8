// Input module: a photo, from a file, dropped, pasted, or one of the page's samples.
import { element } from "./element.js";
import { decoded, pixelsOf } from "./pictures.js";

// Sizes that a model takes where its file leaves them free: [name, [height, width]].
function sizesOf(model) {
  if (model.fixed) return [];
  const sides = [128, 256, 384, 512, 768, 1024];
  const fits = sides.filter((s) => s % model.multiple === 0 && s >= model.min_size).map((s) => [s, s]);
  const others = fits.filter((size) => String(size) !== String(model.size));
  const sizes = [model.size, ...others].sort((a, b) => a[0] * a[1] - b[0] * b[1]);
  return sizes.map((size) => [`${size[1]} × ${size[0]}`, size]);
}

export function mount(container, model, onInputs, tools) {
  const root = element("div", "photo");
  const shown = element("canvas", "photo-shown");
  shown.setAttribute("role", "img");
  shown.setAttribute("aria-label", "The photo as the model reads it");
  const drop = element("label", "photo-drop");
  const file = element("input");
  file.type = "file";
  file.accept = "image/*";
  drop.append(element("span", "photo-button", "Choose a photo"), file, element("small", "", "or drop or paste one"));
  const about = element("p", "quiet photo-about");
  root.append(shown, drop);
  const sizes = sizesOf(model);
  let size = model.size;
  let picture = null;
  let name = "";
  let turn = 0; // counts, so that of two pictures the one that was asked for last stays
  if (sizes.length) {
    const label = element("label", "photo-size", "Size ");
    const choice = element("select");
    for (const [text] of sizes) choice.append(element("option", "", text));
    choice.selectedIndex = sizes.findIndex(([, s]) => s === model.size);
    choice.onchange = () => {
      size = sizes[choice.selectedIndex][1];
      show();
    };
    label.append(choice);
    root.append(label);
  }
  root.append(about);
  if (tools.samples.length) root.append(strip());
  container.append(root);

  function strip() {
    const list = element("div", "photo-samples");
    list.setAttribute("role", "group");
    list.setAttribute("aria-label", "Sample pictures");
    for (const sample of tools.samples) {
      const button = element("button");
      button.type = "button";
      const image = element("img");
      image.src = tools.url(sample.file);
      image.alt = `Sample ${sample.name}`;
      button.append(image);
      button.onclick = () => take(() => fetched(sample), sample.name);
      list.append(button);
    }
    return list;
  }

  async function fetched(sample) {
    const answer = await fetch(tools.url(sample.file));
    if (!answer.ok) throw new Error(`${sample.file} is not there (${answer.status}).`);
    return answer.blob();
  }

  // source: gives the picture's file.
  async function take(source, called) {
    const own = ++turn;
    try {
      const bitmap = await decoded(await source());
      if (own !== turn) return bitmap.close();
      picture = pixelsOf(bitmap);
      bitmap.close();
      name = called;
      tools.warn("");
      show();
    } catch (error) {
      if (own === turn) tools.warn(error.message);
    }
  }

  function show() {
    if (!picture) return;
    const channels = model.inputs.image.dims[1];
    const seen = tools.fit(picture, size);
    shown.width = seen.width;
    shown.height = seen.height;
    shown.getContext("2d").putImageData(seen, 0, 0);
    const is = [picture.width, picture.height];
    const same = is[0] === seen.width && is[1] === seen.height;
    about.textContent = same
      ? `${name}: ${is.join(" × ")}, as it is`
      : `${name}: ${is.join(" × ")}, resized and cropped to ${seen.width} × ${seen.height}`;
    const data = tools.toTensor(seen, channels, model.range);
    onInputs({ image: { data, dims: [1, channels, seen.height, seen.width] } }, seen);
  }

  const first = (list) => [...(list ?? [])].find((f) => f.type.startsWith("image/"));
  const taken = (files, event) => {
    const found = first(files);
    if (!found && !files?.length) return;
    event.preventDefault();
    if (found) take(() => found, found.name || "pasted");
    else tools.warn(`${files[0].name} is no picture. Give a JPEG or PNG file.`);
  };
  const onDrop = (event) => {
    root.classList.remove("over");
    event.preventDefault();
    taken(event.dataTransfer.files, event);
  };
  const onPaste = (event) => taken(event.clipboardData.files, event);
  const onOver = (event) => {
    event.preventDefault();
    root.classList.add("over");
  };
  const onLeave = () => root.classList.remove("over");
  file.onchange = () => {
    const [chosen] = file.files;
    file.value = ""; // so that the same file can be chosen again
    if (chosen) take(() => chosen, chosen.name);
  };
  const listeners = [["drop", onDrop], ["dragover", onOver], ["dragleave", onLeave], ["paste", onPaste]];
  for (const [event, listener] of listeners) window.addEventListener(event, listener);
  const [sample] = tools.samples;
  if (sample) take(() => fetched(sample), sample.name);
  return {
    destroy() {
      turn++; // what is on its way comes too late
      for (const [event, listener] of listeners) window.removeEventListener(event, listener);
    },
  };
}
