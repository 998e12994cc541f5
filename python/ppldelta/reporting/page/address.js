// The view in the address, behind `#`: what was chosen in place of the usual, so that a copied link opens the same view
// and Back undoes the last step. Models, families and documents are numbers, which hold for a page and its copies.
ppldelta.address = (() => {
  "use strict";

  const { state, index } = ppldelta;
  const TOGETHER = 600; // milliseconds within which hiding further models belongs to the same step, as a double click does
  let usual = null; // text of each part as the page opens
  let last = { at: -Infinity, part: null }; // the last step

  const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : NaN);
  const offered = (name, value) => document.querySelector(`[data-set="${name}"][data-value="${CSS.escape(value)}"]`) !== null;
  const choice = (name) => ({ write: () => state[name] ?? "", read: (text) => ({ [name]: offered(name, text) ? text : usual[name] }) });
  const isModel = (family, model) => index.families[family]?.models[model] !== undefined;

  /** Parts of the address by name: a function that writes one from the state ("" for none), and one that reads it. */
  const PARTS = {
    unit: choice("unit"),
    weighting: choice("weighting"),
    category: { // "=" before the name, since a category may have none
      write: () => (state.category === null ? "" : `=${state.category}`),
      read: (text) => ({ category: text && index.families.some(({ categories }) => categories.includes(text.slice(1))) ? text.slice(1) : null }),
    },
    hide: {
      write: () => [...state.hidden].sort().join("_").replaceAll("/", "."),
      read: (text) => ({ hidden: new Set(text.split("_").filter((each) => isModel(...each.split(".").map(whole))).map((each) => each.replace(".", "/"))) }),
    },
    select: { // family, then the steps from each document's number to the next, to base 36
      write() {
        if (!state.selection) return "";
        let before = 0;
        const steps = [...state.selection.documents].sort((a, b) => a - b).map((k) => { const step = k - before; before = k; return step.toString(36); });
        return `${state.selection.family}_${steps.join(".")}`;
      },
      read(text) {
        const [family, steps] = text.split("_");
        const most = index.families[whole(family)]?.n_documents ?? 0;
        let k = 0;
        const documents = new Set((steps ?? "").split(".").map((step) => (k += parseInt(step, 36))).filter((each) => each >= 0 && each < most));
        return { selection: documents.size ? { family: Number(family), documents } : null, selectionDrawn: state.selectionDrawn + 1 };
      },
    },
    shade: choice("shade"),
    strips: choice("strips"),
    tour: { write: () => String(state.tour ?? ""), read: (text) => ({ tour: index.tour?.steps[whole(text) - 1] ? whole(text) : null }) },
    theme: { write: () => state.theme ?? "", read: (text) => ({ theme: text === "light" || text === "dark" ? text : null }) },
    read: { // family.document.model.token; of a page without texts only the model matters
      write: () => [state.focus.family, state.open?.document ?? "", state.focus.model, state.token ?? ""].join(".").replace(/\.$/, ""),
      read(text) {
        const [family, k, model, token] = text.split(".").map(whole);
        if (!index.families[family]) return text === usual.read ? {} : PARTS.read.read(usual.read);
        const open = index.families[family].token_documents.includes(k) ? { family, document: k } : family === state.open?.family ? state.open : null;
        return { open, focus: { family, model: isModel(family, model) ? model : 0 }, token: open && Number.isInteger(token) ? token : null };
      },
    },
  };
  for (const { dataset } of document.querySelectorAll("[data-set]")) PARTS[dataset.set] ??= choice(dataset.set); // further switches
  const NAMES = Object.keys(PARTS);
  const written = () => Object.fromEntries(NAMES.map((name) => [name, PARTS[name].write()]));

  const encoded = (text) => encodeURIComponent(text).replace(/%(3D|2F|20)/g, (code) => ({ "%3D": "=", "%2F": "/", "%20": "+" })[code]);
  function decoded(text) {
    try { return decodeURIComponent(text.replaceAll("+", " ")); } catch { return ""; }
  }

  function fromAddress() { // the text of each part; what is not named is as usual
    const parts = { ...usual };
    for (const part of window.location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      if (at > 0 && part.slice(0, at) in usual) parts[part.slice(0, at)] = decoded(part.slice(at + 1));
    }
    return parts;
  }

  /** Brings the page to the view that the address names. */
  function follow() {
    const now = written(), wanted = fromAddress();
    const changed = NAMES.filter((name) => now[name] !== wanted[name]);
    if (changed.length) state.set(Object.assign({}, ...changed.map((name) => PARTS[name].read(wanted[name]))));
    clearTimeout(writing);
    write(true);
  }

  function write(replace = false) {
    writing = null;
    const now = written();
    const parts = NAMES.filter((name) => now[name] !== usual[name]);
    const hash = parts.map((name) => `${name}=${encoded(now[name])}`).join("&");
    const before = window.location.hash.slice(1);
    if (hash === before || (!hash && before && !before.includes("="))) return; // a section's name stays
    const old = fromAddress();
    const changed = NAMES.filter((name) => now[name] !== old[name]);
    const part = changed.length !== 1 ? null // which may be one step with the last: models hidden, tokens gone through by arrow keys
      : changed[0] === "hide" || (changed[0] === "tour" && now.tour && old.tour) ? changed[0] : changed[0] === "read" && now.read.split(".").slice(0, 3).join() === old.read.split(".").slice(0, 3).join() ? "token" : null;
    const time = performance.now();
    const together = part === "tour" || (part !== null && part === last.part && (part === "token" ? state.stepping : time - last.at < TOGETHER));
    last = { at: time, part: replace ? null : part };
    try {
      window.history[replace || together ? "replaceState" : "pushState"]({ view: true }, "", hash ? `#${hash}` : window.location.pathname + window.location.search);
    } catch { /* a browser that allows only so many steps in half a minute */ }
  }
  let writing = null;

  state.subscribe(() => { if (usual && writing === null) writing = setTimeout(write); });

  /** Once the documents are known: opens what the address names, else the document that moved most. True if it names one. */
  function start() {
    const family = index.families.findIndex((each) => each.token_documents.length);
    if (family >= 0) Object.assign(state, { open: { family, document: index.families[family].token_documents[0] }, focus: { family, model: index.families[family].opens } });
    usual = written();
    window.addEventListener("popstate", (event) => {
      const named = window.location.hash.includes("read=");
      follow();
      if (!event.state && named) ppldelta.reader.show(); // typed or clicked, and not gone back to
    });
    follow();
    return window.location.hash.includes("read=");
  }

  return { start };
})();
