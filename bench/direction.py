"""Does gain, loss, their difference, or KL divergence tell which answers a change of a model flips? (docs/direction.md)

    python bench/direction.py REFERENCE.gguf --cmp COMPARISON.gguf --cmp REFERENCE.gguf+LORA.gguf:0.5 --work FOLDER
    python bench/direction.py --quick     # on the demo's models, in under a minute

Every model answers the items of `direction_items` (`ppldelta.loglikelihood`); `ppldelta.score` with `kld` measures each
item's context with the right answer behind it, a row of JSONL, and documents of the demo of which no item is made.
What was evaluated stays in FOLDER's store; tables, frames and figure go to FOLDER.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import direction_figure
import direction_items
import direction_numbers
import ppldelta
from direction_items import Item, Rest
from package import require
from ppldelta import demo

N_HELD_OUT = 128
"""Tokens of each document of which no item is made."""


def label_of(model: str, reference: str) -> str:
    """`Q4_0`, `sums:0.5`: what tells a comparison from the reference."""
    *_, last = model.split("+")
    name, _, scale = last.partition(":")
    stem, base = Path(name).name.removesuffix(".gguf"), Path(reference).name.split(".")[0]
    return f"{stem}:{scale}" if scale else stem.removeprefix(f"{base}.")


def answers(model: str, items: list[Item], store: Path) -> pl.DataFrame:
    """A row for each choice of each item: its log-probability, token by token."""
    pairs = [(item.context, choice) for item in items for choice in item.choices]
    found = ppldelta.loglikelihood(model, pairs, n_ctx=512, store=store)
    return pl.DataFrame(
        {
            "item": [i for i, item in enumerate(items) for _ in item.choices],
            "choice": [i for item in items for i in range(len(item.choices))],
        }
    ).with_columns(found.frame["logp"], found.frame["token_logp"])


def divergences(
    ref: str, cmp: dict[str, str], items: list[Item], n_answer: list[int], rest: Rest, store: Path
) -> dict[str, pl.DataFrame]:
    """Token records with KL divergence: of contexts and right answers, whose documents are item numbers, and the rest.

    Args:
        n_answer: tokens of each right answer.
    """
    settings = {"windows": "every", "max_windows": 1, "kld": True, "store": store}
    columns = [pl.col("model", "document").cast(pl.String), *map(pl.col, ("pos", "logp_cmp", "delta", "kld"))]
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"id": str(i), "text": item.context + item.choices[item.right], "category": item.task}
            for i, item in enumerate(items)
        ]
        table = Path(folder) / "items.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        both = ppldelta.score(table, ref, cmp, n_ctx=512, **settings).tokens.select(columns)
    other = ppldelta.score(rest.documents, ref, cmp, n_ctx=N_HELD_OUT, **settings).tokens.select(columns)
    answer = pl.DataFrame({"document": list(map(str, range(len(items)))), "n_answer": n_answer})
    from_end = pl.col("pos").max().over("document").cast(pl.Int64) - pl.col("pos").cast(pl.Int64)
    both = both.join(answer, on="document", maintain_order="left").with_columns(
        (from_end < pl.col("n_answer")).alias("is_answer")
    )
    return {"context": both.filter(~pl.col("is_answer")), "answer": both.filter("is_answer"), "rest": other}


def agree(items: list[Item], of_cmp: dict[str, pl.DataFrame], scored: pl.DataFrame) -> None:
    """Ends the study if the two ways to the right answers' log-probabilities differ by more than rounding does."""
    right = pl.DataFrame({"item": range(len(items)), "choice": [item.right for item in items]})
    for label, frame in of_cmp.items():
        one = right.join(frame, on=["item", "choice"], how="left", maintain_order="left")["logp"].to_numpy()
        sums = (
            scored.filter(pl.col("model") == label)
            .group_by(pl.col("document").cast(pl.Int64))
            .agg(pl.col("logp_cmp").cast(pl.Float64).sum())
        )
        other = sums.sort("document")["logp_cmp"].to_numpy()
        apart = np.abs(one - other)
        print(
            f"{label}: both ways to a right answer differ by {apart.mean():.3f} nats (mean), {apart.max():.3f} (most)"
        )
        # batches of other sizes take other kernels, which round activations in another way
        require(apart.mean() < 0.2, f"{label}: `loglikelihood` and `score` differ by {apart.mean():.3f} nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default=str(demo.REFERENCE))
    parser.add_argument("--cmp", action="append", default=[], help="a comparison; may be given several times")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work" / "direction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000, help="of the items, for intervals")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    small = (12, 16, 16) if arguments.quick else (80, 80, 80)
    items, rest = direction_items.make(arguments.seed, *small)
    if arguments.quick:
        rest = Rest(rest.sums, rest.passages, dict(list(rest.documents.items())[::6]))
    cmp = {label_of(each, arguments.reference): each for each in arguments.cmp or map(str, demo.COMPARISONS)}
    if len(cmp) < len(arguments.cmp):
        raise SystemExit("two comparisons have one name\nhint: give the files other names")
    arguments.work.mkdir(parents=True, exist_ok=True)
    store = arguments.work / "store.sqlite"
    of_ref = answers(arguments.reference, items, store)
    of_cmp = {label: answers(model, items, store) for label, model in cmp.items()}
    n_answer = of_ref["token_logp"].list.len().to_list()
    n_right = [n_answer[i * len(item.choices) + item.right] for i, item in enumerate(items)]
    tokens = divergences(arguments.reference, cmp, items, n_right, rest, store)
    agree(items, of_cmp, tokens["answer"])
    for part, frame in tokens.items():
        frame.write_parquet(arguments.work / f"{part}.parquet")
    rows = direction_numbers.items_frame(items, of_ref, of_cmp, tokens)
    rows.write_parquet(arguments.work / "items.parquet")
    text, models, found = direction_numbers.study(rows, tokens["rest"], arguments.resamples)
    (arguments.work / "tables.md").write_text(text, "utf-8")
    figure = direction_figure.figure_of(models, found)
    figure.write_html(arguments.work / "direction.html", include_plotlyjs=True)
    print(text)


if __name__ == "__main__":
    main()
