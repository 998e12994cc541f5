"""Log-odds of two kinds of answers to a prompt: of complying against refusing, or of any two labels of completions.

For each group (the completions of a prompt) and each model:

    ln p(completion | prompt) = Σ logp of the completion's tokens
    P(label)  = Σ p(completion | prompt) over the completions of the label
    log-odds  = ln P(label) - ln P(against)                  nats; 0: one is as probable as the other
    change    = log-odds of the comparison - log-odds of the reference

Probabilities are those of whole completions, as `acc` of lm-evaluation-harness compares them, and not means by byte as
in its `acc_norm`: only probabilities add up over several ways to say the same, and only they are what a model would do.
The price is that a longer completion is less probable, so that both labels should be written equally long. Length
cancels in the change, but for this: a model that predicts all text worse loses more on the longer one. A completion
whose tokens are, or begin with, those of another one of its prompt and label is a part of that one and left out, so
that P(label) is never above 1.

Intervals are those of all other numbers (`uncertainty`), with groups in place of documents. A part that is 0 or 1 has
none: no resample would have another value, which says nothing of other prompts.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ppldelta.analysis.uncertainty import (
    DOCUMENTS_MIN,
    LEVEL,
    N_RESAMPLES,
    SEED,
    percentile_interval,
    resampled_sums,
)
from ppldelta.contrasts import contained, contrast
from ppldelta.schema import ODDS, ODDS_MODELS

_KEYS = ["family", "model", "document"]
_SUMS = ["change", "more", "to_label", "to_against"]


def log_odds(tokens: pl.DataFrame, documents: pl.DataFrame, texts: pl.DataFrame, pieces: pl.DataFrame) -> pl.DataFrame:
    """Log-odds of each group under the reference and each comparison.

    Args:
        tokens: the token records, columns of `schema.TOKENS`.
        documents: columns of `schema.DOCUMENTS`.
        texts: columns of `schema.TEXTS`, of which `prompt` is read; it is null where a document is missing.
        pieces: columns of `schema.PIECES`, likewise.

    Returns:
        A frame with exactly `schema.ODDS`, a row for each (family, model, group) that has completions of both labels,
        in the order of `documents`; empty if no family has two labels.
    """
    found = []
    for family, rows in documents.filter(pl.col("group").is_not_null()).group_by("family", maintain_order=True):
        pair = contrast(rows["label"])
        if pair is None:
            continue
        rows = rows.filter(pl.col("label").is_in(list(pair))).with_row_index("place")
        places = rows.select(*_KEYS, "place", "group", "label", "category")
        sums = _distinct(_sums(tokens.filter(family=family[0]), places), texts.filter(family=family[0]))
        by_group = (
            sums.group_by("family", "model", "group", maintain_order=True)
            .agg(
                pl.col("category").first(),
                label=pl.lit(pair.label),
                against=pl.lit(pair.against),
                n_label=(pl.col("label") == pair.label).sum(),
                n_against=(pl.col("label") == pair.against).sum(),
                **{
                    f"logp_{role}_{which}": _log_sum(f"logp_{which}", label)
                    for which in ("ref", "cmp")
                    for role, label in (("label", pair.label), ("against", pair.against))
                },
                documents=pl.col("document"),
                first=pl.col("pos").first(),
            )
            .filter(pl.col("n_label") > 0, pl.col("n_against") > 0)
        )
        found.append(by_group.with_columns(prompt=_prompts(by_group, texts, pieces)))
    if not found:
        return pl.DataFrame(schema=ODDS)
    odds = pl.concat(found).with_columns(
        odds_ref=pl.col("logp_label_ref") - pl.col("logp_against_ref"),
        odds_cmp=pl.col("logp_label_cmp") - pl.col("logp_against_cmp"),
    )
    return odds.with_columns(change=pl.col("odds_cmp") - pl.col("odds_ref")).select(
        pl.col(name).cast(dtype) for name, dtype in ODDS.items()
    )


def odds_of_models(
    odds: pl.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> pl.DataFrame:
    """What the groups say of each model: the mean change, and how many change sides.

    Args:
        odds: columns of `schema.ODDS`; rows whose change is not finite are left out.
        n_resamples: resamples of the bootstrap over groups.
        seed: seed of the bootstrap.
        level: part of the resamples between ``*_low`` and ``*_high``.

    Returns:
        A frame with exactly `schema.ODDS_MODELS`: of each (family, model) a row for all groups (category null), then
        one for each category if there are several. Intervals are null for fewer than `uncertainty.DOCUMENTS_MIN`
        groups, and those of a part also where it is 0 or 1.

    Raises:
        PpldeltaError: `n_resamples` is below 1, or `level` not between 0 and 1.
    """
    rows = []
    for (family, model), part in odds.group_by("family", "model", maintain_order=True):
        known = part.filter(pl.col("change").is_finite())
        scopes: list[tuple[str | None, pl.DataFrame]] = [(None, known)] if len(known) else []
        if known["category"].n_unique() > 1:
            scopes += [(str(name), some) for (name,), some in known.group_by("category", maintain_order=True)]
        for category, some in scopes:
            table = some.select(
                pl.col("change"),
                more=(pl.col("change") > 0).cast(pl.Float64()),
                to_label=((pl.col("odds_ref") <= 0) & (pl.col("odds_cmp") > 0)).cast(pl.Float64()),
                to_against=((pl.col("odds_ref") > 0) & (pl.col("odds_cmp") <= 0)).cast(pl.Float64()),
            ).to_numpy()
            n = len(table)
            row = {
                **{"family": family, "model": model, "category": category, "n_groups": n},
                **some.select("label", "against").row(0, named=True),
                **some.select(pl.col("odds_ref", "odds_cmp").mean()).row(0, named=True),
                **{
                    f"{role}_delta": (some[f"logp_{role}_cmp"] - some[f"logp_{role}_ref"]).mean()
                    for role in ("label", "against")
                },
                **{f"n_{name}": int(table[:, i].sum()) for i, name in enumerate(_SUMS) if name != "change"},
                **{name: float(table[:, i].mean()) for i, name in enumerate(_SUMS)},
            }
            if n >= DOCUMENTS_MIN:
                drawn = resampled_sums(table, n_resamples=n_resamples, seed=seed) / n
                low, high = percentile_interval(drawn, level=level)
                for i, name in enumerate(_SUMS):
                    if name != "change" and row[name] in (0.0, 1.0):
                        continue  # no resample has another value, which is no certainty
                    row |= {f"{name}_low": float(low[i]), f"{name}_high": float(high[i])}
            rows.append(row)
    return pl.DataFrame(rows, schema=ODDS_MODELS, infer_schema_length=None)


def _sums(tokens: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Log-probabilities of whole completions in float64, and where each begins, in the order of `places`."""
    return (
        places.join(
            tokens.with_columns(pl.col(_KEYS).cast(pl.String()))
            .join(places.select(_KEYS), on=_KEYS, how="semi")
            .group_by(_KEYS)
            .agg(pl.col("logp_ref", "logp_cmp").cast(pl.Float64()).sum(), pl.col("pos").min()),
            on=_KEYS,
        )
        .sort("place")
        .drop("place")
    )


def _distinct(sums: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Leaves out completions that are a part of another one of their group and label. Those of unknown tokens stay."""
    read = texts.select("document", "tokens").with_row_index("at")  # the corpus's order: of equals the first stays
    known = sums.with_row_index("row").join(read, on="document").sort("at")
    answers = [
        ((model, group, label, begin), np.asarray(tokens, np.int32).tobytes())
        for model, group, label, begin, tokens in known.select("model", "group", "label", "pos", "tokens").iter_rows()
    ]
    left_out = known["row"].gather(list(contained(answers)))
    return sums.filter(~pl.int_range(pl.len()).is_in(left_out.implode()))


def _log_sum(column: str, label: str) -> pl.Expr:
    """ln Σ exp(logp) over the completions of a label; null if there is none."""
    values = pl.col(column).filter(pl.col("label") == label)
    most = values.max()
    return pl.when(most.is_infinite()).then(most).otherwise(most + (values - most).exp().sum().log())


def _prompts(groups: pl.DataFrame, texts: pl.DataFrame, pieces: pl.DataFrame) -> pl.Series:
    """The text before the first completion of each group; null if its tokens are not known."""
    spelt = {(family, token): piece for family, token, piece in pieces.select("family", "token", "piece").iter_rows()}
    named = groups.select(
        "family", "first", "group", pl.col("documents").list.first().alias("document"), place=pl.int_range(pl.len())
    )
    before = named.join(texts, on=["family", "document"], how="left").sort("place")
    found: list[str | None] = []
    read: dict[tuple[str, str], str] = {}
    for row in before.iter_rows(named=True):
        if row["tokens"] is None:
            found.append(None)
            continue
        key = row["family"], row["document"]
        if key not in read:
            parts = [spelt.get((row["family"], token), b"") for token in row["tokens"][: row["first"]]]
            read[key] = b"".join(parts).decode("utf-8", "replace")
        found.append(read[key])
    return pl.Series(found, dtype=pl.String())
