// The card that the page begins with as a picture of its own: copied, or saved. It stands in the page in the page's colours,
// and its letters are outlines that all shapes share.
(() => {
  "use strict";

  const { format } = ppldelta;
  const tools = document.getElementById("cover-tools");
  if (!tools) return;
  tools.hidden = false;

  /** The shape that is shown; of the narrow one, which is made for a phone, the square one. */
  function shape() {
    const shown = [...document.querySelectorAll(".cover svg")].find((each) => each.getClientRects().length > 0);
    return shown?.classList.contains("wide") ? "wide" : "square";
  }

  /** The card as a file: its width and height in pixels, and an SVG without custom properties that holds its letters. */
  function standing() {
    const name = shape();
    const drawn = document.querySelector(`.cover svg.${name}`).cloneNode(true);
    const look = getComputedStyle(document.documentElement);
    const { width, height } = drawn.viewBox.baseVal;
    for (const text of drawn.querySelectorAll("text")) text.remove(); // it lies upon the letters, to be selected
    const letters = [...new Set([...drawn.querySelectorAll("use")].map((each) => each.getAttribute("href")))].sort();
    const defs = document.createElementNS(drawn.namespaceURI, "defs");
    defs.append(...letters.map((each) => document.querySelector(each).cloneNode(true)));
    drawn.prepend(defs);
    for (const [key, value] of Object.entries({ width, height, role: "img", "aria-label": tools.dataset.said })) drawn.setAttribute(key, value);
    drawn.removeAttribute("aria-hidden");
    const svg = new XMLSerializer().serializeToString(drawn).replace(/var\((--[a-z0-9]+)\)/g, (_, property) => look.getPropertyValue(property).trim());
    return { name: `card${name === "wide" ? "" : `-${name}`}${ppldelta.state.dark ? "-dark" : ""}`, width, height, svg };
  }

  /** Promise of the card as PNG, twice as fine as its size. */
  async function png({ width, height, svg }) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    await image.decode();
    const canvas = format.element("canvas", { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  }

  async function copy(button) {
    const said = button.textContent;
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": png(standing()) })]);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot copy here: save it";
    }
    setTimeout(() => { button.textContent = said; }, 2000);
  }

  tools.addEventListener("click", async (event) => {
    const way = event.target.closest("button")?.dataset.cover;
    if (way === "copy") copy(event.target.closest("button"));
    if (way === "svg") { const made = standing(); format.save(`${made.name}.svg`, new Blob([made.svg], { type: "image/svg+xml" })); }
    if (way === "png") { const made = standing(); format.save(`${made.name}.png`, await png(made)); }
  });

  ppldelta.cover = { standing, png };
})();
