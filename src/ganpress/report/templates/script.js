// The page works without this: pictures enlarge, teacher and student lie over each other, commands
// are copied, sliders move pictures, and charts show their values under the pointer.
(function () {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  document.documentElement.classList.add("js");

  const box = document.querySelector("dialog"), pictures = all(".zoom img");
  let shown = 0;
  const show = (n) => {
    shown = (n + pictures.length) % pictures.length;
    all("img", box).forEach((old) => old.remove());
    box.querySelector("p").textContent = pictures[shown].alt + "  (arrow keys: next picture)";
    box.append(pictures[shown].cloneNode());
  };
  all(".zoom").forEach((button, n) => button.addEventListener("click", () => { show(n); box.showModal(); }));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); show(shown + step); }
  });
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });

  all(".compare").forEach((compare) => {
    const row = all(".row")[+compare.dataset.row], slider = compare.querySelector("input");
    const stage = compare.querySelector(".stage");
    for (const kind of ["student", "teacher"]) stage.append(row.querySelector(`.${kind} img`).cloneNode());
    const cut = (share) => {
      slider.value = Math.max(0, Math.min(100, share));
      stage.style.setProperty("--cut", slider.value + "%");
    };
    const drag = (event) => {
      const edge = stage.getBoundingClientRect();
      if (event.type === "pointerdown" || event.buttons || event.pointerType === "mouse")
        cut(100 * (event.clientX - edge.left) / edge.width);
    };
    slider.addEventListener("input", () => cut(+slider.value));
    for (const kind of ["pointerdown", "pointermove"]) stage.addEventListener(kind, drag);
    compare.hidden = false;
  });

  all(".sliders").forEach((box) => {
    const strengths = box.dataset.strengths.split(" ").map(Number), middle = (strengths.length - 1) / 2;
    const dials = all(".dial input", box), outputs = all(".dial output", box);
    const sheets = all(".sheet", box.parentElement), canvases = all("canvas", box);
    const show = (which, column) => {
      dials.forEach((dial, n) => {
        dial.value = n === which ? column : middle;
        const strength = strengths[dial.value], words = (strength > 0 ? "+" : "") + +strength.toPrecision(3);
        dial.setAttribute("aria-valuetext", words + " standard deviations");
        outputs[n].textContent = words.replace("-", "\u2212") + " \u03c3";
      });
      canvases.forEach((canvas) => {
        const [w, h] = [canvas.width, canvas.height];
        canvas.getContext("2d").drawImage(sheets[which], column * w, canvas.dataset.row * h, w, h, 0, 0, w, h);
      });
    };
    dials.forEach((dial, n) => dial.addEventListener("input", () => show(n, +dial.value)));
    box.querySelector("button").addEventListener("click", () => show(0, middle));
    Promise.all(sheets.map((sheet) => sheet.decode())).then(() => {
      const moved = dials.findIndex((dial) => +dial.value !== middle);
      show(Math.max(0, moved), moved < 0 ? middle : +dials[moved].value);
    });
  });

  all(".copy").forEach((copy) => {
    const button = copy.querySelector("button");
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(copy.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });

  all("[data-hover]").forEach((chart) => {
    const curves = JSON.parse(chart.dataset.hover), svg = chart.querySelector("svg");
    const labels = all(".legend b", chart), last = labels.map((label) => label.textContent);
    const word = all("text", svg).find((text) => text.textContent === "step");
    const [width, height] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
    svg.insertAdjacentHTML("beforeend", `<line class="cursor" y1="0" y2="${height}"/>`);
    const cursor = svg.lastElementChild, span = curves.steps[1] - curves.steps[0];
    svg.addEventListener("pointermove", (event) => {
      const edge = svg.getBoundingClientRect(), at = (event.clientX - edge.left) / edge.width;
      const wanted = curves.steps[0] + span * (at - curves.from) / (curves.to - curves.from);
      const near = curves.lines.map((line) => line.reduce((best, point) =>
        Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best));
      near.forEach((point, n) => { labels[n].textContent = point[1].toLocaleString("en-GB", { maximumSignificantDigits: 4 }); });
      const x = width * (curves.from + (curves.to - curves.from) * (near[0][0] - curves.steps[0]) / span);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.style.visibility = "visible";
      word.textContent = "step " + near[0][0].toLocaleString("en-GB");
    });
    svg.addEventListener("pointerleave", () => {
      cursor.style.visibility = "hidden";
      word.textContent = "step";
      labels.forEach((label, n) => { label.textContent = last[n]; });
    });
  });
})();
