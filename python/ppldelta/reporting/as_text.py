"""A result as text for a terminal: its references, a table of its models, and in which unit they are told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from textwrap import wrap

import polars as pl

from ppldelta.family import Family
from ppldelta.reporting import odds
from ppldelta.reporting.floor import noise_notes
from ppldelta.reporting.units import unit_of
from ppldelta.wording import numbers, rules
from ppldelta.wording.names import LONGEST_NAME, counted, shown_name


def summary(families: Sequence[Family], overall: pl.DataFrame) -> pl.DataFrame:
    """The columns of a result's table: without perplexities and nats where some models are compared on spans of text.

    Args:
        families: of the result.
        overall: rows of `schema.MODELS`, a row for each model.
    """
    columns = ["family"] if len(families) > 1 else []
    columns += ["model", "n_documents", "n_scored"]
    if unit_of(families) == "bpb":
        columns += ["n_bytes", "bpb_ref", "bpb_cmp", "gain_bpb", "loss_bpb", "delta_bpb"]
    else:
        columns += ["ppl_ref", "ppl_cmp", "gain", "loss", "delta", "gain_bpb", "loss_bpb"]
        if any(family.quants for family in families):
            columns += ["damage"]
    of_divergence = ("kld", "kld_p99", "same_top")
    columns += [name for name in of_divergence if overall[name].null_count() < len(overall)]
    return overall.select(columns)


def as_text(families: Sequence[Family], overall: pl.DataFrame, odds_models: pl.DataFrame | None = None) -> str:
    """What `repr` of a result shows; the arguments are those of `summary`, and `Result.odds_models`."""
    in_bits = unit_of(families) == "bpb"
    references = ", ".join(f"`{shown_name(family.ref.label)}`" for family in families)
    table = summary(families, overall)
    if "family" not in table.columns and len(table):
        # by token, only families are compared in bits per byte
        table = table.rename({"n_scored": "n_spans"}) if in_bits else table.drop("gain_bpb", "loss_bpb")
        same = table.select("n_documents", *([] if in_bits else ["n_scored", "ppl_ref"])).unique()
        if len(same) == 1:
            what = counted(same["n_documents"][0], "document")
            if not in_bits:
                what = f"ppl {same['ppl_ref'][0]:.4f}; {what}, {counted(same['n_scored'][0], 'token')}"
                length = numbers.bytes_per_token(families[0].ref.bytes_per_token)
                what += f", {length}" if length else ""
            references += f" ({what})"
            table = table.drop(same.columns)
        for column in ("delta", "delta_bpb", "kld"):
            if column in table.columns:
                ends = overall.select(column, f"{column}_low", f"{column}_high").iter_rows()
                table = table.with_columns(pl.Series(column, starmap(numbers.plus_minus, ends), dtype=pl.String()))
    named = [column for column in ("family", "model") if column in table.columns]
    most = LONGEST_NAME if len(named) == 1 else 30  # beside the numbers, both have room
    for column in named:
        names = [shown_name(name, most) for name in table[column]]
        table = table.with_columns(pl.Series(column, names, dtype=pl.String))
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=160,
        fmt_str_lengths=4 * most,  # a character may be several code points
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        float_precision=4,
        thousands_separator=",",
        tbl_formatting="UTF8_BORDERS_ONLY",
        tbl_cell_numeric_alignment="RIGHT",
    ):
        shown = str(table)
    rule = rules.notes((shown_name(family.name), family.signature.get("windows")) for family in families)
    lines = [line for sentence in rule for line in wrap(sentence, 100, break_long_words=False)]
    of_prompts = [] if odds_models is None else odds.notes(odds_models)
    return "\n".join(
        [
            f"Compared with {references}:",
            shown,
            _note(table, in_bits),
            *lines,
            *noise_notes(families, overall),
            *of_prompts,
        ]
    )


def _note(table: pl.DataFrame, in_bits: bool) -> str:
    """What the columns are in."""
    intervals = "" if "family" in table.columns else "; ±: half of the 95 % interval"
    if in_bits:
        return f"*_bpb: bits per byte of text, on spans that the tokens of both models cut out{intervals}"
    damage = ", damage (gain + loss)" if "damage" in table.columns else ""
    note = f"gain, loss, delta{damage}: nats per token; every token weighs the same"
    return note + ("; *_bpb: bits per byte" if "gain_bpb" in table.columns else intervals)
