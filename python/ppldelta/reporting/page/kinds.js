// What the model in focus gained and lost by the kind of token: a row for each kind, with its rule and passages under it.
(() => {
  "use strict";

  const { state, format, index } = ppldelta;
  const { element, signed, count, decimals } = format;
  const list = document.getElementById("kinds-list");
  if (!list) return;

  const percent = (part) => (part === null ? "0" : `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)}\u00a0%`);
  const unit = index.units[index.bits ? "bpb" : "nats"];

  /** Two bars that meet in the middle: the kind's share of all loss to the left, of all gain to the right. */
  function bars(each, most) {
    const bar = (way) => element("i", { class: way, style: `width:${(50 * (each[`share_${way}`] ?? 0)) / most}%` });
    return element("span", { class: "bars", "aria-hidden": "true" }, bar("loss"), bar("gain"));
  }

  function passage(family, model, each) {
    const { quote, again } = ppldelta.passages;
    const facts = element("span", { class: "facts" }, element("b", {}, `${signed(each.sum, 2)} nats`), " in ", element("code", {}, state.loaded.get(family).names[each.document]), again(each));
    const readable = index.families[family].token_documents.includes(each.document);
    return element("li", {}, readable ? element("a", { href: `#read=${family}.${each.document}.${model}.${each.start}` }, facts, quote(each)) : element("div", {}, facts, quote(each)));
  }

  function row(family, model, each, digits, most) {
    const interval = each.low === null ? "too few documents" : `${signed(each.low, digits)} to ${signed(each.high, digits)}`;
    return element("details", { class: each.clear ? "kind clear" : "kind" },
      element("summary", {},
        element("span", { class: "kind-name" }, each.kind, element("small", {}, `${count(each.n)} ${index.families[family].spans ? "spans" : "tokens"}`)),
        element("span", { class: "kind-delta" }, signed(each.delta ?? NaN, digits), element("small", {}, interval)),
        bars(each, most),
        element("span", { class: "kind-shares" }, `${percent(each.share_gain)} of gain`, element("small", {}, `${percent(each.share_loss)} of loss`))),
      element("p", { class: "note" }, "Rule: ", ...each.rule.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part)), "."),
      element("ol", { class: "passages" }, ...(each.passages.length ? each.passages.map((one) => passage(family, model, one)) : [element("li", { class: "quiet" }, "no passage moved this way")])));
  }

  const ORDERS = { delta: `by mean delta, kinds of fewer than ${index.documents_min} documents last`, share_gain: "by the part of all gain", share_loss: "by the part of all loss" };

  async function show() {
    const { family, model } = state.focus;
    let block;
    try {
      [block] = await Promise.all([ppldelta.block(`f${family}.kinds`), state.documents(family)]);
    } catch (error) {
      list.replaceChildren(element("p", { class: "quiet", role: "alert" }, `The kinds cannot be shown: ${error.message}.`));
      return;
    }
    if (family !== state.focus.family || model !== state.focus.model) return;
    const by = state.kinds, rows = [...(block.kinds[model] ?? [])]; // by falling delta, the last without intervals
    if (by !== "delta") rows.sort((a, b) => (b[by] ?? 0) - (a[by] ?? 0));
    const most = Math.max(1e-9, ...rows.flatMap((each) => [each.share_gain ?? 0, each.share_loss ?? 0]));
    const digits = Math.max(2, decimals(...rows.map((each) => each.delta ?? NaN)) - 1);
    list.replaceChildren(element("p", { class: "kinds-head", "aria-hidden": "true" }, `all documents: kind, mean delta in ${unit} with its 95\u00a0% interval, and the kind\u2019s part of all that was lost and gained; bold where it is clear; sorted ${ORDERS[by]}`),
      ...rows.map((each) => row(family, model, each, digits, most)));
  }

  state.subscribe((what) => { if (what.has("focus") || what.has("kinds")) show(); });
  list.addEventListener("toggle", ({ target }) => { if (target.open && !target.querySelector(".more")) ppldelta.passages.unfold(target); }, true);
  ppldelta.kinds = { show };
})();
