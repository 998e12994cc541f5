// What a reference and a model say of a token as a pair, where the run has it (`kld`): divergence, ranks, entropies,
// whether both find the same token most probable, and the tokens that each would have put there. payload_divergence.py
// says how the blocks are written.
ppldelta.details = (() => {
  "use strict";

  const { format, index } = ppldelta;
  const { element, fixed, count, probability, significant, visible } = format;
  const steps = index.divergence_steps;

  const inNats = (values, none, step) => Float32Array.from(values, (value) => (value === none ? NaN : value * step));

  function kldOf(code) {
    if (code === steps.kld_none) return NaN;
    const step = code - 1; // decades of 900 numbers of three digits
    return code === 0 ? 0 : (100 + step % 900) * 10 ** (Math.floor(step / 900) + steps.kld_power - 2);
  }

  /** Promise of the pairs of a document, each an array for each model of values by scored token; null if it has none. */
  async function load(family, k) {
    const { models, details } = index.families[family];
    if (!details?.includes(k)) return null;
    const block = await ppldelta.block(`f${family}.k${k}`);
    const n = block.rank_ref.length;
    const split = (values) => models.map((_, m) => values.subarray(m * n, (m + 1) * n));
    const entropyRef = inNats(block.entropy_ref, steps.entropy_none, steps.entropy);
    return {
      kld: split(Float32Array.from(block.kld, kldOf)), same: split(block.same), rankRef: block.rank_ref, rank: split(block.rank), entropyRef,
      entropy: split(inNats(block.entropy, steps.difference_none, steps.entropy)).map((more) => more.map((each, i) => each + entropyRef[i])),
      top: block.words ? bestTokens(block, n, models.length + 1) : null,
    };
  }

  /** The most probable tokens of the reference (0) or a model (from 1) at a scored token, best first: [text, logp]. */
  function bestTokens({ top, top_nll: nll, words }, n, nWho) {
    const most = top.length / n / nWho;
    return (who, i) => {
      const found = [];
      for (let j = (who * n + i) * most; j < (who * n + i + 1) * most; j++) {
        if (top[j] < words.length) found.push([words[top[j]], -nll[j] * steps.top]);
      }
      return found;
    };
  }

  const word = ([text]) => element("code", { class: "piece", dir: "auto" }, visible(text) || "(empty)");
  const best = (title, found) => element("span", { class: "best" }, element("span", { class: "quiet" }, `${title} `), ...found.flatMap(([text, logp], i) => [
    i ? " " : null, word([text]), `\u00a0${probability(logp)}`,
  ].filter(Boolean)));

  /** Whether both find the same token most probable, and else which each does, as far as the run has kept them. */
  function tops(detail, m, i) {
    const same = detail.same[m][i];
    if (same > 1 || same) return same > 1 ? [] : [", same top token"];
    const [ref, cmp] = [0, m + 1].map((who) => detail.top?.(who, i)[0]);
    if (!ref || !cmp) return [", another top token", element("span", { class: "quiet" }, detail.top ? "" : " (a run with --top-k shows which)")];
    return [", the top token ", word(ref), " became ", word(cmp)];
  }

  /** What to say of a scored token under a model: a list of elements, empty if nothing is known. */
  function describe(detail, m, i) {
    const kld = detail?.kld[m][i];
    if (kld === undefined || Number.isNaN(kld)) return [];
    const parts = [
      element("span", {}, `KL divergence ${significant(kld)} nats`, ...tops(detail, m, i)),
      element("span", {}, `rank ${count(detail.rankRef[i])} → ${count(detail.rank[m][i])}, entropy ${fixed(detail.entropyRef[i], 2)} → ${fixed(detail.entropy[m][i], 2)} nats`),
    ];
    if (detail.top) {
      parts.push(best("reference:", detail.top(0, i)), best("model:", detail.top(m + 1, i)));
    }
    return parts;
  }

  return { load, describe };
})();
