"""What the study in `direction.py` makes of its numbers: predictors of each item, AUCs with intervals, tables, figure.

AUC: the probability that of two items under one comparison the one that flips has the larger value (ties count half);
pairs of all comparisons of a kind are put together. Intervals are percentiles of resamples of items, the same for all
comparisons. *Equally close* counts only pairs of one fifth of |margin|, the log-probability of the right answer less
that of the best wrong one under the reference (for `lost` and `won`, fifths of the items that can flip that way).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from direction_items import Item

PREDICTORS = {  # column: (what it is measured on, how it is called)
    "closeness": ("reference alone", "−\\|margin\\|"),
    "kld_context": ("context", "KL divergence"),
    "loss_context": ("context", "loss"),
    "gain_context": ("context", "gain"),
    "delta_context": ("context", "gain − loss"),
    "kld_place": ("answer's first place", "KL divergence"),
    "damage_choices": ("all four choices", "gain + loss"),
    "kld_answer": ("right answer", "KL divergence"),
    "loss_answer": ("right answer", "loss"),
    "gain_answer": ("right answer", "gain"),
    "delta_answer": ("right answer", "gain − loss"),
    "margin_change": ("by construction", "right − best wrong, change"),
}
QUESTIONS = {  # which items are asked for among which
    "flips": "any flip, of all items",
    "lost": "lost, of those the reference has right",
    "won": "won, of those it has wrong",
    "direction": "won rather than lost, of those that flip",
}
N_FIFTHS = 5
Floats = NDArray[np.float64]
Found = dict[tuple[str, str, str, str], tuple[float, float, float]]
"""AUC with its interval, by kind, predictor, question, and which pairs count."""


def items_frame(
    items: list[Item], ref: pl.DataFrame, cmp: dict[str, pl.DataFrame], tokens: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    """A row for each item under each comparison: who is right, and all predictors, in nats per token."""
    right = np.array([item.right for item in items])
    each = np.arange(len(items))

    def choices(frame: pl.DataFrame) -> Floats:
        return frame["logp"].to_numpy().reshape(len(items), -1)

    def margin(logp: Floats) -> Floats:
        wrong = logp.copy()
        wrong[each, right] = -np.inf
        return logp[each, right] - wrong.max(1)

    of_ref = choices(ref)
    frames = []
    for label, frame in cmp.items():
        of_cmp = choices(frame)
        moved = pl.DataFrame({"item": ref["item"], "ref": ref["token_logp"], "cmp": frame["token_logp"]})
        damage = (
            moved.explode("ref", "cmp")
            .group_by("item", maintain_order=True)
            .agg((pl.col("cmp") - pl.col("ref")).abs().mean())
        )
        frames.append(
            pl.DataFrame(
                {
                    "item": each,
                    "task": [item.task for item in items],
                    "model": label,
                    "right_ref": margin(of_ref) > 0,
                    "right_cmp": margin(of_cmp) > 0,
                    "closeness": -np.abs(margin(of_ref)),
                    "margin_change": margin(of_cmp) - margin(of_ref),
                    "damage_choices": damage["cmp"],
                }
            )
        )
    rows = pl.concat(frames)
    for part in ("context", "answer"):
        rows = rows.join(_of_part(tokens[part], part), on=["item", "model"], how="left", maintain_order="left")
    return rows


def _of_part(tokens: pl.DataFrame, part: str) -> pl.DataFrame:
    """Gain, loss, their difference and KL divergence per token of each item's context or right answer."""
    delta = pl.col("delta").cast(pl.Float64)
    found = tokens.group_by(pl.col("document").cast(pl.Int64).alias("item"), "model").agg(
        delta.clip(lower_bound=0).mean().alias(f"gain_{part}"),
        (-delta).clip(lower_bound=0).mean().alias(f"loss_{part}"),
        delta.mean().alias(f"delta_{part}"),
        pl.col("kld").cast(pl.Float64).mean().alias(f"kld_{part}"),
        pl.col("kld").cast(pl.Float64).sort_by("pos").first().alias("kld_place"),
    )
    return found if part == "answer" else found.drop("kld_place")


def kind_of(label: str) -> str:
    """Whether a comparison is a quant or a finetune, by its name in this study."""
    return "quants" if label.startswith(("Q", "IQ")) else "finetunes"


def auc(rows: pl.DataFrame, value: str, question: str, draws: Floats, *, within: str = "") -> tuple[Floats, int]:
    """AUC of a predictor: of the items as they are, then of each resample; and how many items are asked for.

    Args:
        rows: of `items_frame`, of the comparisons that are put together.
        value: a column.
        question: one of `QUESTIONS`.
        draws: how often each resample has each item, shape [n_resamples, n_items].
        within: only pairs of items that the reference finds equally close (`margin`), or of one task (`task`).
    """
    n_items = draws.shape[1]
    weights = np.vstack([np.ones(n_items), draws])
    above, pairs, n = np.zeros(len(weights)), np.zeros(len(weights)), 0
    for _, frame in rows.group_by("model"):
        ref, cmp = frame["right_ref"].to_numpy(), frame["right_cmp"].to_numpy()
        among = {"flips": ref | True, "lost": ref, "won": ~ref, "direction": ref != cmp}[question]
        asked = {"flips": ref != cmp, "lost": ref & ~cmp, "won": ~ref & cmp, "direction": ~ref}[question]
        x, item = frame[value].to_numpy().astype(np.float64), frame["item"].to_numpy()
        known = np.isfinite(x) & among
        yes, no = np.flatnonzero(known & asked), np.flatnonzero(known & ~asked)
        n += len(yes)
        if not len(yes) or not len(no):
            continue
        counted = np.ones((len(yes), len(no)))
        if within == "margin":
            distance = frame["closeness"].to_numpy()
            strata = np.searchsorted(np.quantile(distance[known], np.arange(1, N_FIFTHS) / N_FIFTHS), distance)
            counted = (strata[yes][:, None] == strata[no][None]).astype(np.float64)
        elif within == "task":
            tasks = frame["task"].to_numpy()
            counted = (tasks[yes][:, None] == tasks[no][None]).astype(np.float64)
        larger = (x[yes][:, None] > x[no][None]) + 0.5 * (x[yes][:, None] == x[no][None])
        w_yes, w_no = weights[:, item[yes]], weights[:, item[no]]
        above += ((w_yes @ (larger * counted)) * w_no).sum(1)
        pairs += ((w_yes @ counted) * w_no).sum(1)
    return above / np.where(pairs > 0, pairs, np.nan), n


def interval(values: Floats) -> tuple[float, float, float]:
    """The first value, and the 95 % interval of the rest."""
    rest = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(rest, [0.025, 0.975]) if len(rest) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def draws_of(n_items: int, n: int, seed: int = 0) -> Floats:
    """How often each of n resamples has each item."""
    return np.random.default_rng(seed).multinomial(n_items, np.full(n_items, 1 / n_items), n).astype(np.float64)


def across(rows: pl.DataFrame, rest: pl.DataFrame, draws: Floats) -> pl.DataFrame:
    """A row for each comparison: what was measured on other text and on the items, and what flipped."""
    delta = pl.col("delta").cast(pl.Float64)
    measured = rest.group_by("model").agg(
        pl.col("kld").cast(pl.Float64).mean().alias("kld_rest"),
        delta.clip(lower_bound=0).mean().alias("gain_rest"),
        (-delta).clip(lower_bound=0).mean().alias("loss_rest"),
        delta.mean().alias("delta_rest"),
    )
    lost = (pl.col("right_ref") & ~pl.col("right_cmp")).sum().alias("lost")
    won = (~pl.col("right_ref") & pl.col("right_cmp")).sum().alias("won")
    means = [pl.col(name).mean() for name in ("kld_context", "delta_context", "kld_answer", "delta_answer")]
    found = rows.group_by("model", maintain_order=True).agg(lost, won, pl.len().alias("n"), *means)
    spreads = []
    for label in found["model"]:
        mine = rows.filter(pl.col("model") == label).sort("item")
        change = mine["right_cmp"].cast(pl.Float64).to_numpy() - mine["right_ref"].cast(pl.Float64).to_numpy()
        spreads.append(interval(np.concatenate([[change.mean()], draws @ change / len(change)])))
    spread = pl.DataFrame(spreads, schema=["change", "low", "high"], orient="row")
    return found.hstack(spread).join(measured, on="model", how="left", maintain_order="left")


def cells(rows: pl.DataFrame) -> pl.DataFrame:
    """A row for each comparison and task, with the change of accuracy there."""
    change = pl.col("right_cmp").cast(pl.Float64).mean() - pl.col("right_ref").cast(pl.Float64).mean()
    flips = (pl.col("right_ref") != pl.col("right_cmp")).mean()
    names = ("kld_context", "delta_context", "kld_answer", "delta_answer", "kld_place")
    return rows.group_by("model", "task", maintain_order=True).agg(
        change.alias("change"), flips.alias("flips"), *(pl.col(name).mean() for name in names)
    )


def spearman(frame: pl.DataFrame, a: str, b: str) -> float:
    """Rank correlation of two columns."""
    return frame.select(pl.corr(pl.col(a).rank(), pl.col(b).rank())).item()


def study(rows: pl.DataFrame, rest: pl.DataFrame, n_resamples: int) -> tuple[str, pl.DataFrame, Found]:
    """The tables as Markdown; of the figure, the comparisons and the AUCs."""
    draws = draws_of(rows["item"].n_unique(), n_resamples)
    models = across(rows, rest, draws)
    lines = [
        "## Models",
        "",
        *_models_table(models, rows),
        "",
        "## Rank correlations",
        "",
        *_correlations(models, rows),
    ]
    found: Found = {}
    rows = rows.with_columns(pl.col("model").map_elements(kind_of, pl.String).alias("kind"))
    for kind in ("quants", "finetunes"):
        some = rows.filter(pl.col("kind") == kind)
        if some.is_empty():
            continue
        for within, said in (("", ""), ("margin", ", equally close"), ("task", ", of one task")):
            lines += ["", f"## AUC, {kind}{said}", ""]
            head, body = ["measured on", "predictor"], [[*PREDICTORS[name]] for name in PREDICTORS]
            for question in QUESTIONS:
                for name, row in zip(PREDICTORS, body, strict=True):
                    values, n = auc(some, name, question, draws, within=within)
                    found[kind, name, question, within] = value, low, high = interval(values)
                    row.append(f"{value:.2f} ({low:.2f} to {high:.2f})")
                head.append(f"{QUESTIONS[question]} ({n})")
            lines += _markdown(head, body)
    return "\n".join(lines) + "\n", models, found


def _models_table(models: pl.DataFrame, rows: pl.DataFrame) -> list[str]:
    tasks = rows["task"].unique(maintain_order=True).to_list()
    accuracy = {
        (model, task): (ref, cmp)
        for model, task, ref, cmp in rows.group_by("model", "task")
        .agg(pl.col("right_ref").mean(), pl.col("right_cmp").mean())
        .iter_rows()
    }
    first = models["model"][0]
    total = rows.filter(pl.col("model") == first)["right_ref"].mean()
    body = [
        ["reference", "", "", "", "", "", "", f"{total:.3f}", *(f"{accuracy[first, task][0]:.2f}" for task in tasks)]
    ]
    for row in models.iter_rows(named=True):
        body.append(
            [
                row["model"],
                f"{row['kld_rest']:.3f}",
                f"{row['gain_rest']:.3f}",
                f"{row['loss_rest']:.3f}",
                f"{row['delta_rest']:+.3f}",
                str(row["won"]),
                str(row["lost"]),
                f"{row['change']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
                *(f"{accuracy[row['model'], task][1]:.2f}" for task in tasks),
            ]
        )
    return _markdown(["", "KLD", "gain", "loss", "gain − loss", "won", "lost", "accuracy", *tasks], body)


def across_halves(rows: pl.DataFrame, names: Sequence[str], n_splits: int = 100) -> dict[tuple[str, str], float]:
    """Rank correlations over comparisons and tasks: a measure on half of the items, flips on the other.

    Returns:
        By (measure, `flips` or `change`), the mean over random splits. `change` as a measure tells what is possible.
    """
    rng = np.random.default_rng(0)
    sums: dict[tuple[str, str], list[float]] = {}
    for _ in range(n_splits):
        half = pl.DataFrame(
            {"item": np.arange(rows["item"].max() + 1), "first": rng.random(rows["item"].max() + 1) < 0.5}
        )
        marked = rows.join(half, on="item")
        one, other = cells(marked.filter("first")), cells(marked.filter(~pl.col("first")))
        both = one.join(other.select("model", "task", "flips", "change"), on=["model", "task"], suffix="_other")
        for name in names:
            for what in ("flips", "change"):
                sums.setdefault((name, what), []).append(spearman(both, name, f"{what}_other"))
    return {key: float(np.nanmean(values)) for key, values in sums.items()}


def _correlations(models: pl.DataFrame, rows: pl.DataFrame) -> list[str]:
    models = models.with_columns((pl.col("lost") + pl.col("won")).alias("flips"))
    kinds = ("quants", "finetunes")
    body = []
    for scope, frame, names in (
        ("comparison", models, ("kld_rest", "loss_rest", "gain_rest", "delta_rest", *_MEANS)),
        ("comparison and task", cells(rows), (*_MEANS, "kld_place")),
    ):
        for name in names:
            row = [scope, name.replace("_", ", ")]
            for kind in kinds:
                some = frame.filter(_kind() == kind)
                row += [f"{spearman(some, name, b):+.2f}" if some.height > 3 else "" for b in ("flips", "change")]
            body.append(row)
    names = (*_MEANS, "kld_place", "flips", "change")
    found = {
        kind: across_halves(rows.filter(_kind() == kind), names)
        for kind in kinds
        if (rows.select(_kind() == kind)).to_series().any()
    }
    for name in names:
        row = ["comparison and task, other half of the items", name.replace("_", ", ")]
        for kind in kinds:
            row += [f"{found[kind][name, b]:+.2f}" if kind in found else "" for b in ("flips", "change")]
        body.append(row)
    head = [
        "one point is a",
        "measure, on",
        "quants: flips",
        "change of accuracy",
        "finetunes: flips",
        "change of accuracy",
    ]
    return _markdown(head, body)


def _kind() -> pl.Expr:
    return pl.col("model").map_elements(kind_of, pl.String)


_MEANS = ("kld_context", "delta_context", "kld_answer", "delta_answer")


def _markdown(head: list[str], body: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]
