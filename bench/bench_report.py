"""The report of 10 000 documents under 10 models, 300 tokens each: time and size of its data and of the whole page,
also of a result with divergences (`kld`).

The baseline is the plain way to bring the same numbers into a page: JSON of gain and loss of every document and of the
token views, rounded to the same steps, deflated and base64-encoded. The check decodes the blocks that are timed and
holds them against the frames, within half a step. Sizes are those of the text in the page, or of all files together.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import harness

sys.path.insert(0, str(harness.BENCH.parent / "tests"))
from helpers import blocks, synthetic

import ppldelta
from ppldelta.reporting.blocks import encode
from ppldelta.reporting.payload import DELTA_STEP, NLL_STEP, Payload, make_payload

LIMIT_MB = 25
"""Size of the page that is allowed."""


def plain(made: dict[str, Any], views: list[str]) -> str:
    """The baseline: what `make_payload` holds of documents and of the documents `views`, as JSON."""
    names = made["documents"]["document"].unique(maintain_order=True).to_list()
    by_model = made["documents"].partition_by("model", maintain_order=True)
    content: dict[str, Any] = {"names": names, "models": []}
    for rows in by_model:
        content["models"].append({name: rows[name].round(7).to_list() for name in ("gain", "loss")})
    content["ref"] = (
        by_model[0].select("n_tokens", "n_scored", "n_bytes", pl.col("ppl_ref").log().round(7)).to_dict(as_series=False)
    )
    records = made["tokens"].with_columns(pl.col("document").cast(pl.String)).filter(pl.col("document").is_in(views))
    tokens = dict(made["texts"].filter(pl.col("document").is_in(views)).select("document", "tokens").iter_rows())
    content["views"] = {
        name: {
            "tokens": tokens[name],
            "nll_ref": (-rows["logp_ref"]).round(3).to_list()[: len(rows) // len(by_model)],
            "delta": rows["delta"].round(3).to_list(),
        }
        for (name,), rows in records.partition_by("document", as_dict=True).items()
    }
    pieces = {
        token: piece.decode(errors="replace") for token, piece in made["pieces"].select("token", "piece").iter_rows()
    }
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = json.dumps([content, pieces], ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(deflate.compress(text.encode()) + deflate.flush()).decode()


def check(payload: Payload, made: dict[str, Any]) -> None:
    """Documents and token views, decoded, against the frames."""
    decoded = blocks.decode(encode(payload.blocks["f0.documents"]))[1]
    names, models = decoded["names"], payload.index["families"][0]["models"]
    for m, model in enumerate(models):
        rows = made["documents"].filter(model=model)
        harness.require(rows["document"].to_list() == names, "the order of the documents")
        for name in ("gain", "loss"):
            got = decoded[name].reshape(len(models), -1)[m]
            harness.require(bool((got == rows[name].cast(pl.Float32).to_numpy()).all()), f"{name} of `{model}`")
    pieces = blocks.decode(encode(payload.blocks["f0.pieces"]))[1]
    known = dict(made["pieces"].select("token", "piece").iter_rows())
    shown = [names[k] for k in payload.index["families"][0]["token_documents"]]
    records = made["tokens"].with_columns(pl.col("document").cast(pl.String)).filter(pl.col("document").is_in(shown))
    by_document = records.partition_by("document", as_dict=True)
    texts = dict(made["texts"].select("document", "tokens").iter_rows())
    for k in payload.index["families"][0]["token_documents"]:
        view = blocks.decode(encode(payload.blocks[f"f0.d{k}"]))[1]
        rows = by_document[(names[k],)]
        n = len(rows) // len(models)
        pos = np.concatenate([np.arange(s, s + c) for s, c in zip(view["start"], view["length"], strict=True)])
        delta, nll = view["delta"] * DELTA_STEP, -rows["logp_ref"][:n].to_numpy()
        nll = np.minimum(nll, 65534 * NLL_STEP)  # which stands for all that is larger
        text = b"".join(pieces["bytes"][pieces["offset"][t] : pieces["offset"][t + 1]].tobytes() for t in view["token"])
        harness.require(np.array_equal(pos, rows["pos"][:n]), f"positions in `{names[k]}`")
        harness.require(np.abs(delta - rows["delta"].to_numpy()).max() <= 0.51 * DELTA_STEP, f"deltas of `{names[k]}`")
        off = np.abs(view["nll_ref"] * NLL_STEP - nll).max()
        harness.require(off <= 0.51 * NLL_STEP, f"nll of `{names[k]}`")
        harness.require(text == b"".join(known[t] for t in texts[names[k]]), f"text of `{names[k]}`")


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3)
    n_documents, n_models = (100, 3) if chosen.quick else (10_000, 10)
    made = synthetic.make(n_documents=n_documents, n_models=n_models, n_tokens=300)
    diverging = ppldelta.Result(**synthetic.make(n_documents=n_documents, n_models=n_models, n_tokens=300, kld=True))
    frames = {name: made[name] for name in ("tokens", "documents", "pieces", "texts", "families")}
    result = ppldelta.Result(**made)

    def payload_of(n_views: Any) -> Callable[[], tuple[Payload, int]]:
        def work() -> tuple[Payload, int]:
            payload = make_payload(**frames, n_views=n_views)
            return payload, sum(len(encode(block)) for block in payload.blocks.values())

        return work

    def report_to(name: str, tokens: Any, of: ppldelta.Result = result) -> Callable[[], Path]:
        return lambda: of.report(chosen.work / name, tokens=tokens)

    def size_of(page: Path) -> int:
        data = page.parent.glob("data/*") if page.name == "index.html" else []
        return sum(path.stat().st_size for path in (page, *data))

    first, _ = payload_of(200)()
    check(first, made)
    check(payload_of("all")()[0], made)
    names = blocks.decode(encode(first.blocks["f0.documents"]))[1]["names"]
    views = [names[k] for k in first.index["families"][0]["token_documents"]]
    print(f"token views: {first.index['token_views']}", file=sys.stderr)
    work = {
        "JSON, 200 token views": harness.timed(lambda: plain(made, views), len),
        "make_payload, 200 token views": harness.timed(payload_of(200), lambda made: made[1]),
        "make_payload, all token views": harness.timed(payload_of("all"), lambda made: made[1]),
        "Result.report, one file": harness.timed(report_to("report.html", 200), size_of),
        "Result.report, one file, with divergences": harness.timed(report_to("kld.html", 200, diverging), size_of),
        "Result.report, folder, all token views": harness.timed(report_to("report", "all"), size_of),
    }
    runs = harness.interleave(work, chosen.runs)
    table = harness.rows(f"{n_documents} documents, {n_models} models", runs, n_units=n_documents * n_models)
    for row, each in zip(table, runs.values(), strict=True):
        row["size_mb"] = each[0].answer / 1e6
        harness.require(len({run.answer for run in each}) == 1, "the same frames give the same bytes")
    page_mb = max(row["size_mb"] for row in table if "one file" in row["contestant"])
    print(f"wanted: one file of at most {LIMIT_MB} MB; got {page_mb:.1f} MB")
    harness.publish(table, chosen)


if __name__ == "__main__":
    main()
