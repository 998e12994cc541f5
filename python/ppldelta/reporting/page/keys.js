// Marks by keyboard. An arrow key goes to the nearest mark in its direction. Enter opens a document's text, or goes to
// the rows of a hexagon's documents. Escape goes back to the mark, or leaves the plane. A status says which mark is
// current.
(() => {
  "use strict";

  const { state, format } = ppldelta;
  const { element } = format;
  const [tip, text, rows] = ["tip", "text", "documents-table"].map((id) => document.getElementById(id));
  const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const WAIT = 90; // milliseconds until plotly has drawn what a mark says
  const MARGIN = 70; // pixels of the window behind which a mark is brought into view
  const SAME = 0.5; // pixels below which marks lie at one place, where they follow each other
  const AFAR = 1e5; // pixels that a mark beside the way counts as further off than any on it
  const said = element("p", { class: "hidden", role: "status" });
  const how = element("p", { class: "hidden", id: "keys-of-planes" }, "Arrow keys go to the nearest mark in that direction, Home, End, Page Down and Page Up from left to right through all; Enter opens a document or, of several, their rows in the table, and Escape leaves.");
  document.querySelector("main").append(how, said);
  const cursors = new WeakMap(); // canvas → { curve, point, ring }
  let from = null; // the plane from which Enter led away, and the mark

  /** All marks that a figure shows: which they are, and where in the canvas, in pixels. */
  function marks(canvas) {
    const axis = (name) => canvas._fullLayout[name.replace(/^(.)/, "$1axis")];
    return canvas.data.flatMap((trace, curve) => {
      const drawn = canvas._fullData[curve];
      if (drawn?.visible !== true || drawn.hoverinfo === "skip" || !/markers/.test(drawn.mode ?? "")) return [];
      const [across, down] = [axis(drawn.xaxis), axis(drawn.yaxis)];
      return Array.from(trace.x, (x, point) => ({ curve, point, x: across.d2p(x), y: down.d2p(trace.y[point]) }))
        .filter(({ x, y, point }) => x > -1 && y > -1 && x < across._length + 1 && y < down._length + 1 && !(trace.meta?.selected && point === 0))
        .map((each) => ({ ...each, x: each.x + across._offset, y: each.y + down._offset }));
    });
  }

  const same = (a) => (b) => a.curve === b.curve && a.point === b.point;

  /** The mark that is reached from one of `all` by a key; null if none lies there. */
  function reached(all, here, key) {
    if (!WAYS[key]) {
      const order = [...all].sort((a, b) => a.x - b.x || a.y - b.y);
      const at = order.indexOf(here);
      return order[{ Home: 0, End: order.length - 1, PageDown: at + 1, PageUp: at - 1 }[key]] ?? null;
    }
    const [right, down] = WAYS[key], number = all.indexOf(here);
    let best = null, least = Infinity;
    all.forEach((each, n) => {
      let along = (each.x - here.x) * right + (each.y - here.y) * down;
      let across = Math.abs((each.x - here.x) * down + (each.y - here.y) * right);
      if (Math.hypot(along, across) < SAME) [along, across] = [(n - number) * (right + down) * 1e-6, 0];
      if (along <= 0) return;
      const far = Math.hypot(along, across) + (across <= along ? 0 : AFAR);
      if (far < least) [best, least] = [each, far];
    });
    return best;
  }

  function put(canvas, mark) { // the ring
    const cursor = cursors.get(canvas) ?? { ring: element("i", { class: "cursor" }) };
    Object.assign(cursor, { curve: mark.curve, point: mark.point });
    cursor.ring.style.left = `${mark.x}px`;
    cursor.ring.style.top = `${mark.y}px`;
    if (!cursor.ring.isConnected) canvas.append(cursor.ring);
    cursors.set(canvas, cursor);
  }

  function say(canvas, mark) {
    const box = canvas.getBoundingClientRect();
    const event = { clientX: box.left + mark.x, clientY: box.top + mark.y };
    const words = (all) => [...all].map((each) => each.textContent.trim()).filter(Boolean).join(", ");
    if (ppldelta.pointAt(canvas, mark, event)) {
      window.Plotly.Fx.unhover(canvas);
      said.textContent = words(tip.children);
      return;
    }
    ppldelta.hideTip();
    window.Plotly.Fx.hover(canvas, [{ curveNumber: mark.curve, pointNumber: mark.point }]);
    setTimeout(() => {
      const lines = canvas.querySelectorAll(".hovertext tspan.line");
      said.textContent = words(lines.length ? lines : canvas.querySelectorAll(".hovertext text"));
    }, WAIT);
  }

  function leave(canvas) {
    cursors.get(canvas)?.ring.remove();
    cursors.delete(canvas);
    canvas.querySelector(".keys")?.remove();
    ppldelta.hideTip();
    window.Plotly.Fx.unhover(canvas);
    said.textContent = "";
  }

  function press(canvas, { curve, point }) {
    const data = canvas.data[curve];
    const led = new Set();
    listening = (what) => what.forEach((each) => led.add(each));
    canvas.emit("plotly_click", { points: [{ curveNumber: curve, pointNumber: point, pointIndex: point, data, x: data.x[point], y: data.y[point], customdata: data.customdata?.[point] }] });
    listening = null;
    const to = led.has("open") ? text : led.has("selection") ? rows : null;
    if (!to) return;
    from = { canvas, curve, point };
    to.focus({ preventScroll: true });
    if (to === rows) document.getElementById("every").scrollIntoView({ behavior: "instant" });
  }
  let listening = null;
  state.subscribe((what) => listening?.(what));

  function moveTo(canvas, mark) {
    put(canvas, mark);
    const { top, bottom } = cursors.get(canvas).ring.getBoundingClientRect();
    const hidden = top < MARGIN || bottom > window.innerHeight - MARGIN;
    if (hidden) window.scrollBy({ top: top - window.innerHeight / 2, behavior: "instant" });
    if (hidden) setTimeout(() => say(canvas, mark), WAIT); else say(canvas, mark); // a scroll takes the tip away
  }

  function pressed(event) {
    const canvas = event.currentTarget;
    if (event.target !== canvas || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = marks(canvas), cursor = cursors.get(canvas);
    const here = cursor && all.find(same(cursor));
    if (event.key === "Escape") leave(canvas);
    else if (event.key === "Enter" && here) press(canvas, here);
    else if (all.length && (event.key in WAYS || ["Home", "End", "PageDown", "PageUp"].includes(event.key))) {
      canvas.querySelector(".keys")?.remove();
      const next = here ? reached(all, here, event.key) : reached(all, null, event.key === "End" ? "End" : "Home");
      if (next) moveTo(canvas, next);
    } else return;
    event.preventDefault();
  }

  document.addEventListener("firstdraw", ({ target: canvas }) => {
    if (!canvas.data.some((trace) => /markers/.test(trace.mode ?? ""))) return;
    for (const [name, value] of Object.entries({ tabindex: 0, role: "application", "aria-roledescription": "plane of marks", "aria-describedby": how.id })) canvas.setAttribute(name, value);
    canvas.addEventListener("keydown", pressed);
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible")) canvas.append(element("span", { class: "keys", "aria-hidden": "true" }, "arrow keys: from mark to mark · Enter: open · Esc: leave"));
    });
    canvas.addEventListener("blur", () => leave(canvas));
    canvas.on("plotly_afterplot", () => { // it may lie elsewhere now, or be gone
      const cursor = cursors.get(canvas);
      const mark = cursor && marks(canvas).find(same(cursor));
      if (mark) put(canvas, mark); else cursor?.ring.remove();
    });
  });
  for (const place of [text, rows]) {
    place.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !from) return;
      const { canvas } = from, mark = marks(canvas).find(same(from));
      from = null;
      canvas.focus({ preventScroll: Boolean(mark) });
      if (mark) moveTo(canvas, mark);
    });
  }

  ppldelta.keys = { marks, reached };
})();
