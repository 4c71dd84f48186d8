// The divider between two pictures that lie on each other: by mouse, touch and keyboard.

export function divide(stage, handle) {
  let cut = 50;
  const set = (value) => {
    cut = Math.min(100, Math.max(0, value));
    stage.style.setProperty("--cut", `${cut}%`);
    handle.setAttribute("aria-valuenow", String(Math.round(cut)));
    handle.setAttribute("aria-valuetext", `${Math.round(cut)} % of the width is the left picture`);
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    set((100 * (event.clientX - box.left)) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (stage.dataset.view !== "both" || event.button) return;
    stage.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  handle.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
    if (!(event.key in steps)) return;
    set(cut + steps[event.key]);
    event.preventDefault();
  });
  set(cut);
}
