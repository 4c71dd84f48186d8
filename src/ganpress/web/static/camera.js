// Input module: the camera, frame after frame, as fast as the models are.
import { element } from "./element.js";

const REASONS = {
  NotAllowedError: "This page may not use the camera. Allow it in the browser's settings for this site, and start again.",
  NotFoundError: "There is no camera here. Choose a photo.",
  NotReadableError: "Another program has the camera. Close it, and start again.",
};

// The middle of a frame in the model's size, by the browser's own filter: quicker than the one of
// photos, and not quite equal to it.
function shrink(context, video, [height, width]) {
  const scale = Math.max(height / video.videoHeight, width / video.videoWidth);
  const [w, h] = [width / scale, height / scale];
  const at = [(video.videoWidth - w) / 2, (video.videoHeight - h) / 2];
  context.drawImage(video, ...at, w, h, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

export function mount(container, model, onInputs, tools) {
  const root = element("div", "camera");
  const shown = element("canvas", "photo-shown");
  shown.setAttribute("role", "img");
  shown.setAttribute("aria-label", "The camera's picture as the model reads it");
  [shown.height, shown.width] = model.size;
  const context = shown.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  const bar = element("p", "actions");
  const button = element("button", "", "Start the camera");
  button.type = "button";
  const flip = element("button", "", "Other camera");
  flip.type = "button";
  flip.hidden = true;
  bar.append(button, flip);
  root.append(shown, bar);
  container.append(root);
  const video = element("video");
  video.muted = true;
  video.playsInline = true;
  let stream = null;
  let facing = "user";
  let gone = false;

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    button.textContent = "Start the camera";
    flip.hidden = true;
    tools.say("");
  }

  async function start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      tools.warn("A browser lends its camera to https pages and to localhost only. Open this page there, or choose a photo.");
      return;
    }
    button.disabled = true; // while the browser asks
    try {
      const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: facing };
      const found = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      if (gone) return found.getTracks().forEach((track) => track.stop());
      stream = found;
      for (const track of stream.getTracks()) track.onended = () => stream === found && unplugged();
      video.srcObject = found;
      await video.play();
      if (stream !== found) return; // stopped meanwhile: the panel has gone, or the camera
      button.textContent = "Stop the camera";
      flip.hidden = false;
      tools.warn("");
      frames(found);
    } catch (error) {
      if (gone) return;
      stop();
      tools.warn(REASONS[error.name] ?? `The camera cannot be used (${error.message}).`);
    } finally {
      button.disabled = false;
    }
  }

  function unplugged() {
    stop();
    tools.warn("The camera has gone. Plug it in and start again, or choose a photo.");
  }

  // One frame after the other: the next is taken when the models are done with the last.
  async function frames(own) {
    const channels = model.inputs.image.dims[1];
    let [count, since] = [0, performance.now()];
    while (stream === own) {
      const seen = tools.fit(shrink(context, video, model.size), model.size);
      const data = tools.toTensor(seen, channels, model.range);
      await onInputs({ image: { data, dims: [1, channels, ...model.size] } }, seen);
      count++;
      const now = performance.now();
      if (now - since > 1000) {
        tools.say(`${((1000 * count) / (now - since)).toFixed(1)} frames per second`);
        [count, since] = [0, now];
      }
      await new Promise(requestAnimationFrame);
    }
  }

  button.onclick = () => (stream ? stop() : start());
  flip.onclick = () => {
    facing = facing === "user" ? "environment" : "user";
    stop();
    start();
  };
  return {
    destroy() {
      gone = true;
      stop();
    },
  };
}
