// The scroll bar of the reader: where in its text is heat, losses left and gains right, and which part is in view. Dragging
// scrolls; it is for the pointer alone, since the text scrolls by keyboard and its tokens are gone through by keys.
ppldelta.minimap = (() => {
  "use strict";

  const { state, index } = ppldelta;
  const canvas = document.getElementById("minimap"), text = document.getElementById("text");
  const BIN = 8; // units of text that are one step of heat
  const { shades } = index.look; // per cent of each
  let heatOf = null, bins = new Map(), due = false;

  /** `heat` gives of a unit its shade's letter and level, such as "g3"; "" for none. */
  function show(units, heat) {
    heatOf = (block) => {
      if (!bins.has(block)) {
        const found = [];
        for (let u = block.first; u <= block.last; u += BIN) {
          const most = {}; // letter → level
          for (let i = u; i <= Math.min(block.last, u + BIN - 1); i++) {
            const [, letter, level] = /^([glsk])(\d)/.exec(heat(units[i])) ?? [];
            if (level > (most[letter] ?? 0)) most[letter] = Number(level);
          }
          found.push(Object.entries(most));
        }
        bins.set(block, found);
      }
      return bins.get(block);
    };
    bins = new Map();
    redraw();
  }

  function draw() {
    due = false;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!heatOf || !width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colors = Object.fromEntries(Object.entries({ g: "--gain", l: "--loss", s: "--surprise", k: "--diverge" }).map(([letter, name]) => [letter, style.getPropertyValue(name)]));
    const all = text.scrollHeight;
    for (const block of ppldelta.text.blocks()) {
      const { offsetTop: top, offsetHeight: tall } = block.element;
      const steps = heatOf(block), each = tall / steps.length;
      const half = (width - 4) / 2; // losses stand left, gains right, as in the bars of kinds
      steps.forEach((heats, i) => heats.forEach(([letter, level]) => {
        pen.globalAlpha = Math.min(1, shades[level - 1] / 100 + 0.22);
        pen.fillStyle = colors[letter];
        pen.fillRect(letter === "g" ? 2 + half : 2, ((top + i * each) / all) * height, "gl".includes(letter) ? half : 2 * half, Math.max(1.5, (each / all) * height));
      }));
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = style.getPropertyValue("--ink");
    pen.lineWidth = 1.5;
    const seen = Math.max(14, (text.clientHeight / all) * height);
    if (text.clientHeight < all) pen.strokeRect(0.75, Math.min(height - seen, (text.scrollTop / all) * height) + 0.75, width - 1.5, seen - 1.5);
  }

  function redraw() {
    if (due) return;
    due = true;
    window.requestAnimationFrame(draw);
  }

  const scroll = (event) => {
    const box = canvas.getBoundingClientRect();
    text.scrollTop = ((event.clientY - box.top) / box.height) * text.scrollHeight - text.clientHeight / 2;
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); scroll(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) scroll(event); });
  text.addEventListener("scroll", redraw, { passive: true });
  text.addEventListener("refold", redraw);
  new ResizeObserver(redraw).observe(text);
  state.subscribe((what) => { if (what.has("dark")) redraw(); });

  return { show, forget: () => { bins = new Map(); redraw(); } };
})();
