"""A tour of a run's own data in at most four steps: the mean hides it, split it, the document, the token.

It follows one model, that whose gain and loss cancel most (where all are quants, that of the greatest damage), to the
document in which it moved most both ways, to the passages there that gained and lost most, and to the token that
moved most of those that a model expected: one that neither did is hard to read. Sentences are made here; the page
draws, and goes from one step to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import polars as pl

from ppldelta.analysis.spans import Span, best_spans
from ppldelta.family import Family
from ppldelta.reporting import short_names
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.family import FamilyRecords
from ppldelta.reporting.passages import Passage, different, passages
from ppldelta.reporting.rows import Row, ends, number, text
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.units import COLUMNS, DELTA, SHORT_UNITS, Unit
from ppldelta.wording import numbers

_TIMES = 1.5  # how much larger than their difference gain and loss together must be for a step to say so
_MOST_CHARACTERS = 40  # of a token's text in a sentence
_WORD = re.compile(r"\w{3}")
_EXPECTED = 0.25  # probability under one of the two models from which a token was expected
_SEEN = 1e-3  # probability under the other model, below which a reader cannot picture it
_LONGEST = 24  # tokens of a passage: it stands beside a figure


def tour(
    records: Sequence[FamilyRecords],
    families: Sequence[Family],
    readable: Sequence[Sequence[int]],
    unit: Unit,
    models: pl.DataFrame | None = None,
) -> dict[str, Json] | None:
    """The steps: of each its title and the pieces of its text; and where they lead.

    Args:
        records: what the page has of each family.
        families: the same families.
        readable: of each, the numbers of the documents that can be read token by token.
        unit: in which the page tells gain and loss.
        models: `schema.MODELS`, whose intervals say in which categories a mean is clear; None: in no one.

    Returns:
        ``family``, ``model``, ``document`` (None if there is none), ``token`` (its position; None where no document can
        be read), ``quote`` (a passage that is the token), ``passages`` (of the document, that with the largest gain and
        that with the largest loss, of which there may be none), ``turned`` (the category in which the mean clearly has
        the other sign, and its mean; or None) and ``steps``; None if no model has numbers.
    """
    means = [row for i, each in enumerate(records) for row in _means(each, i, unit)]
    if not means:
        return None
    quants = {
        (i, m) for i, each in enumerate(records) for m, model in enumerate(each.models) if model in families[i].quants
    }
    judged = [each for each in means if each[0] not in quants]
    telling = _cancelled if judged else _damage
    place, chosen = max(judged or means, key=lambda each: telling(each[1]["gain"], each[1]["loss"]))
    i, m = place
    family = records[i]
    label = short_names.in_families([(each.name, model) for each in records for model in each.models])[
        family.name, family.models[m]
    ]
    turned = None if models is None else _turned(family, i, m, chosen, unit, models)
    steps = [
        ("The mean hides it", _hidden(label, chosen, turned, family, unit)),
        ("Split it", _split(label, chosen, place in quants, unit)),
    ]
    found: dict[str, Json] = {"family": i, "model": m, "document": None, "token": None, "quote": None, "passages": []}
    found["turned"] = None if turned is None else [turned[0], turned[1]["gain"] - turned[1]["loss"]]
    row = _document(family, m, readable[i], unit)
    if row is not None:
        k = int(number(row, "k") or 0)
        found["document"] = k
        found["passages"] = [asdict(each) for each in _most_moved(family, m, k)] if k in readable[i] else []
        steps.append(("The document", _moved(row, len(family.documents), unit)))
        at = _token(family, m, k) if k in readable[i] else None
        if at is not None:
            quote, logp_ref, expected = at
            found |= {"token": quote.start, "quote": asdict(quote)}
            steps.append(("The token", _changed(label, quote, logp_ref, unit, expected)))
    pieces: list[Json] = [
        {"title": title, "pieces": [[each.kind, each.text] for each in said]} for title, said in steps
    ]
    return found | {"steps": pieces}


def _cancelled(gain: float, loss: float) -> float:
    """What of gain and loss cancels, weighted by its part of both: neither little nor one-sided movement is large."""
    least = min(gain, loss)
    return least * 2 * least / (gain + loss) if gain + loss > 0 else 0.0


def _damage(gain: float, loss: float) -> float:
    return gain + loss


def _means(
    family: FamilyRecords, i: int, unit: Unit, category: str | None = None
) -> list[tuple[tuple[int, int], dict[str, float]]]:
    """Gain and loss of each model over all documents or those of a category, every token (byte) weighing the same."""
    gain, loss = COLUMNS[unit]
    weight = "n_scored" if unit == "nats" else "n_bytes"
    finite = family.rows.filter(pl.col(gain).is_finite() & pl.col(loss).is_finite() & pl.col("ppl_ref").is_finite())
    if category is not None:
        finite = finite.filter(pl.col("category") == category)
    of_tokens = pl.col("n_scored") / pl.col("n_scored").sum()
    mean = (pl.col(gain, loss) * pl.col(weight) / pl.col(weight).sum()).sum()
    fits = ((pl.col("ppl_ref").log() * of_tokens).sum(), (pl.col("delta") * of_tokens).sum())
    made = finite.group_by("m", maintain_order=True).agg(
        mean, fits[0].alias("nll"), fits[1].alias("net"), pl.len().alias("n")
    )
    return [
        ((i, row["m"]), {"gain": row[gain], "loss": row[loss], "nll": row["nll"], "net": row["net"], "n": row["n"]})
        for row in made.iter_rows(named=True)
    ]


def _turned(
    family: FamilyRecords, i: int, m: int, mean: Mapping[str, float], unit: Unit, models: pl.DataFrame
) -> tuple[str, dict[str, float]] | None:
    """The category in which a model's mean clearly has the other sign than over all documents, the furthest from 0."""
    over_all = mean["gain"] - mean["loss"]
    mine = models.filter(family=family.name, model=family.models[m], weighting="tokens")
    ends_of = {row["category"]: ends(row, DELTA[unit]) for row in mine.iter_rows(named=True)}
    others = [
        (category, numbers_of)
        for category in family.categories
        for (_, model), numbers_of in _means(family, i, unit, category)
        if model == m and all(end is not None and end * over_all < 0 for end in ends_of.get(category, (None,)))
    ]
    return max(others, key=lambda each: abs(each[1]["gain"] - each[1]["loss"]), default=None)


def _hidden(
    label: str,
    mean: Mapping[str, float],
    turned: tuple[str, Mapping[str, float]] | None,
    family: FamilyRecords,
    unit: Unit,
) -> list[Piece]:
    delta = mean["gain"] - mean["loss"]
    n = len(family.documents)
    over = "the one document" if n == 1 else f"all {numbers.count(n)} documents"
    digits = numbers.decimals(mean["gain"], mean["loss"])
    net = Piece(numbers.signed(delta, digits), "number")
    pieces = [Piece(f"Over {over}, "), Piece(label, "name")]
    if unit == "nats":
        pieces += [Piece(" takes the reference’s perplexity from "), *_perplexities(mean)]
        pieces += [Piece(". In nats per token, the mean says "), net]
    else:
        pieces += [Piece(" differs from the reference by a mean of "), net, Piece(" bits per byte")]
    if turned is not None:
        category, there = turned
        pieces += [Piece(". Yet on "), Piece(category or "documents without category", "category"), Piece(" alone it ")]
        pieces += [Piece("is the other way round: ")]
        if unit == "nats":
            pieces += [*_perplexities(there), Piece(", a mean of ")]
        amount = there["gain"] - there["loss"]
        return [*pieces, Piece(numbers.signed(amount, digits), "number"), Piece(". One mean cannot say both.")]
    hardly = mean["gain"] + mean["loss"] > 4 * abs(delta)
    return [
        *pieces,
        Piece(", as if hardly anything had happened." if hardly else ". That is what is left of two numbers."),
    ]


def _perplexities(mean: Mapping[str, float]) -> list[Piece]:
    before, after = math.exp(mean["nll"]), math.exp(mean["nll"] - mean["net"])
    return [
        Piece(numbers.perplexity(before), "number"),
        Piece(" to "),
        Piece(numbers.perplexity(after), "number"),
    ]


def _split(label: str, mean: Mapping[str, float], quant: bool, unit: Unit) -> list[Piece]:
    gain, loss = mean["gain"], mean["loss"]
    digits = numbers.decimals(gain, loss)
    tokens = "tokens" if unit == "nats" else "stretches of text"
    pieces = [
        Piece(f"Some {tokens} it predicts better, others worse. "),
        Piece(label, "name"),
        Piece(" gained "),
        Piece(numbers.fixed(gain, digits), "number"),
        Piece(" and lost "),
        Piece(f"{numbers.fixed(loss, digits)} {SHORT_UNITS[unit]}", "number"),
    ]
    delta = abs(gain - loss)
    times = (gain + loss) / delta if delta else math.inf
    if numbers.known(times) and times >= _TIMES:
        shown = numbers.fixed(times, 0 if times >= 10 else 1)
        pieces += [Piece(", together "), Piece(f"{shown} times", "number"), Piece(" what the mean shows")]
    rest = " Of a quant both are one perturbation, and their sum is its damage." if quant else ""
    return [*pieces, Piece(f". On the dashed line they cancel.{rest}")]


def _document(family: FamilyRecords, m: int, readable: Sequence[int], unit: Unit) -> Row | None:
    """The document whose lesser part, gain or loss, is largest; only those that can be read count, if there are any."""
    gain, loss = COLUMNS[unit]
    rows = family.rows.filter(pl.col("m") == m, pl.col(gain).is_finite(), pl.col(loss).is_finite())
    some = rows.filter(pl.col("k").is_in(list(readable)))
    rows = some if some.height else rows
    order = rows.with_columns(both=pl.min_horizontal(gain, loss)).sort("both", "k", descending=[True, False])
    return order.row(0, named=True) if order.height else None


def _moved(row: Row, n: int, unit: Unit) -> list[Piece]:
    gain, loss = (number(row, name) for name in COLUMNS[unit])
    digits = numbers.decimals(gain, loss)
    where = " is the one document: it" if n == 1 else " is the document that moved most both ways: it"
    return [
        Piece(text(row, "document"), "name"),
        Piece(f"{where} gained "),
        Piece(numbers.fixed(gain, digits), "number"),
        Piece(" and lost "),
        Piece(f"{numbers.fixed(loss, digits)} {SHORT_UNITS[unit]}", "number"),
        Piece(", and its mean says "),
        Piece(numbers.signed(number(row, DELTA[unit]), digits), "number"),
        Piece("."),
    ]


def _most_moved(family: FamilyRecords, m: int, k: int) -> list[Passage]:
    """The passage of a document that gained most and that which lost most, as far as there are."""
    rows, starts = family.records.of_model(m)
    begin, end = map(int, np.searchsorted(rows, family.records.offsets[k : k + 2]))
    delta = family.records.delta[m][rows]

    def spans(sign: int, most: int) -> list[Span]:
        found = best_spans(sign * delta[begin:end], starts[begin:end], most=most, longest=_LONGEST)
        return [Span(begin + each.first, begin + each.last, each.sum) for each in found]

    return [each for sign in (1, -1) for each in different(family, m, partial(spans, sign), delta, most=1)]


def _token(family: FamilyRecords, m: int, k: int) -> tuple[Passage, float, bool] | None:
    """The token of a document that the third step shows.

    Among words that one of the two models expected it is the one that moved most, or one that stands as a whole word
    and moved at least half as far. Without such words it is the token that moved most.

    Returns:
        It, the reference's log-probability of it in nats, and whether a model expected it; None if no number is finite.
    """
    records = family.records
    rows, _ = records.of_model(m)
    begin, end = map(int, np.searchsorted(rows, records.offsets[k : k + 2]))
    delta = records.delta[m][rows]
    logp_ref = (records.logp_ref if records.spans is None else records.spans.logp_ref[m])[rows[begin:end]]
    size = np.abs(delta[begin:end])
    finite = np.flatnonzero(np.isfinite(size))
    if not len(finite):
        return None
    order = finite[np.argsort(-size[finite], kind="stable")]
    with np.errstate(invalid="ignore"):  # of an infinite log-probability, which is no word to end at
        logp_cmp = logp_ref + delta[begin:end]
    likely, unlikely = np.maximum(logp_ref, logp_cmp), np.minimum(logp_ref, logp_cmp)
    words = order[(likely[order] >= math.log(_EXPECTED)) & (unlikely[order] >= math.log(_SEEN))]
    words = [at for at in words.tolist() if _WORD.search(_spelt(family, m, int(rows[begin + at])))]
    far = [at for at in words if 2 * size[at] >= size[words[0]]]
    whole = (at for at in far if _is_whole(**family.excerpt(m, int(rows[begin + at]), int(rows[begin + at]))))
    word = next(whole, words[0] if words else None)
    at = int(order[0]) if word is None else word
    quote = passages(family, m, [Span(begin + at, begin + at, float(delta[begin + at]))], delta)[0]
    return quote, float(logp_ref[at]), word is not None


def _spelt(family: FamilyRecords, m: int, row: int) -> str:
    """The text of a token; empty where it ends within a character."""
    try:
        return family.spelt(m, row).decode()
    except UnicodeDecodeError:
        return ""


def _is_whole(before: str, text: str, after: str) -> bool:
    """Whether a text is one word where it stands, and no part of a longer one."""
    goes_on = [re.fullmatch(r"\w\w", seam) for seam in (before[-1:] + text[:1], text[-1:] + after[:1])]
    return re.fullmatch(r"\W*\w{3,}\W*", text) is not None and not any(goes_on)


def _changed(label: str, quote: Passage, logp_ref: float, unit: Unit, expected: bool) -> list[Piece]:
    shown = quote.text if len(quote.text) <= _MOST_CHARACTERS else f"{quote.text[:_MOST_CHARACTERS]}…"
    what = "token" if unit == "nats" else "span"
    said = f"A {what} in it that one of the two models expected is " if expected else f"Its {what} that moved most is "
    pieces = [Piece(said), Piece(shown, "token")]
    if numbers.known(logp_ref):
        pieces += [
            Piece(". The reference gave it a probability of "),
            Piece(numbers.probability(logp_ref), "number"),
            Piece(", "),
            Piece(label, "name"),
            Piece(" one of "),
            Piece(numbers.probability(logp_ref + quote.sum), "number"),
        ]
    return [
        *pieces,
        Piece(": "),
        Piece(f"{numbers.signed(quote.sum, 2)} nats", "number"),
        Piece(". All gains and losses are sums of such numbers."),
    ]
