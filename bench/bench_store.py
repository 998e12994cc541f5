"""(d) What the store saves: the same comparison again, and one comparison more.

Every run is a fresh Python with start and imports, and begins with a store as it was before the run: an empty one, one
that holds everything, one that lacks the last comparison.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import harness
from children import compare_stored
from make_model import cached
from texts import text


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3)
    shape = "quick" if chosen.quick else "mid"
    ref = cached(chosen.work, shape)
    n_cmp = 2 if chosen.quick else 3
    cmp = [chosen.work / f"{shape}-copy-{i}.gguf" for i in range(n_cmp)]
    for i, path in enumerate(cmp):  # other content, the same cost: bytes after the last tensor
        shutil.copyfile(ref, path)
        with path.open("ab") as file:
            file.write(bytes([i + 1]) * 32)
    with tempfile.TemporaryDirectory(dir=chosen.work) as name:
        folder, stores = Path(name) / "corpus", Path(name)
        folder.mkdir()
        for i in range(4 if chosen.quick else 12):
            (folder / f"{i:02}.txt").write_text(text(500, start=500 * i), "utf-8")

        def run(store: Path, models: list[Path] = cmp) -> harness.Run:
            arguments = {"ref": ref, "cmp": models, "threads": chosen.threads}
            return harness.call(compare_stored, folder=folder, store=store, **arguments)

        def starting_with(start: Path | None) -> harness.Contestant:
            def contestant() -> harness.Run:
                store = stores / "now.sqlite"
                store.unlink(missing_ok=True)
                if start:
                    shutil.copyfile(start, store)
                return run(store)

            return contestant

        whole, lacking = stores / "whole.sqlite", stores / "lacking.sqlite"
        run(lacking, cmp[:-1])
        run(whole)
        runs = harness.interleave(
            {
                "nothing in the store": starting_with(None),
                "one comparison more": starting_with(lacking),
                "all in the store": starting_with(whole),
            },
            chosen.runs,
        )
    expected = {"nothing in the store": n_cmp + 1, "one comparison more": 1, "all in the store": 0}
    digests = runs["nothing in the store"][0].answer["digests"]
    for name, each in runs.items():
        for one in each:
            harness.require(one.answer["digests"] == digests, f"`{name}` gives other log-probabilities")
            harness.require(one.answer["n_evaluated"] == expected[name], f"`{name}` evaluates other models")
    n = runs["nothing in the store"][0].answer["n_tokens"] * n_cmp
    harness.publish(harness.rows(f"reference and {n_cmp} comparisons", runs, n_units=n), chosen)


if __name__ == "__main__":
    main()
