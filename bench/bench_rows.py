"""(rows) A table of many short rows: memory and time for each row at two sizes, and a run that is killed and resumed.

Ends with status 1 if the larger table takes more memory or time for each row than the limits say, if a killed run
evaluates a window twice, or if a row has other numbers than it has alone. The model is as small as llama.cpp allows,
so that what is measured is what goes on around it.

    python bench/bench_rows.py            # 100,000 and 1,000,000 rows: some twenty minutes
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import BENCH, call, memory_kb, options, publish, tree
from make_model import cached

SIZES, QUICK = (100_000, 1_000_000), (2_000, 8_000)
KB_PER_ROW = 4.0
"""Most memory of all processes for each row more, frames of the result included."""
TIME_RATIO = 1.5
"""Most time for each row of the larger table, in that of the smaller one."""
COSTS = ("score_s", "save_s", "parent_mb", "worker_mb", "saved_mb", "report_mb")
"""Seconds of scoring and of saving; the caller's peak memory when it has scored, the worker's, the caller's when it has
saved; the page's size."""
N_ALONE = 50
"""Rows that are scored by themselves as well."""
WORDS = """
the of and to in is was for on that with as by at from it his her they we river stone light green cloud house train
bread winter summer market garden window letter music
""".split()  # noqa: SIM905


def write_rows(path: Path, n: int) -> Path:
    """Rows of some 15 tokens: prompts with completions of three words, and now and then a text."""
    drawn = random.Random(7)
    with path.open("w") as file:
        for i in range(n):
            if i % 10 == 0:
                row = {"text": " ".join([*drawn.choices(WORDS, k=8), str(i)])}
            else:
                prompt, completion = drawn.choices(WORDS, k=6), drawn.choices(WORDS, k=3)
                row = {"prompt": " ".join(prompt), "completion": f" {' '.join(completion)}"}
            file.write(f"{json.dumps(row)}\n")
    return path


def score_rows(table: str, ref: str, cmp: str, store: str | None, threads: int, save: str | None) -> dict[str, Any]:
    """Scores a table, and tells what that took and gave."""
    import ppldelta
    from ppldelta.engine.remote import RemoteModel

    evaluated: dict[str, int] = {}
    score = RemoteModel.score

    def spied(model: RemoteModel, batches: Any, *rest: Any, **more: Any) -> Any:
        evaluated[model.label] = len(batches.at)
        return score(model, batches, *rest, **more)

    RemoteModel.score = spied  # type: ignore[method-assign, assignment]
    began = time.perf_counter()
    result = ppldelta.score(table, ref, [cmp], store=store, threads=threads, progress=False)
    score_s = time.perf_counter() - began
    worker_kb = max((memory_kb(pid).get("VmHWM", 0) for pid in tree(os.getpid())[1:]), default=0)
    found: dict[str, Any] = {"evaluated": evaluated, "n_rows": result.documents.height, "score_s": score_s}
    found |= {"parent_mb": memory_kb()["VmHWM"] * 1.024e-3, "worker_mb": worker_kb * 1.024e-3}
    values = result.tokens["logp_ref"].to_numpy().tobytes() + result.tokens["logp_cmp"].to_numpy().tobytes()
    found["digest"] = hashlib.sha256(values).hexdigest()
    some = result.tokens.filter(result.tokens["document"].is_in(names(table, N_ALONE)))
    found["some"] = some.select("logp_ref", "logp_cmp").to_dict(as_series=False)
    if save:
        began = time.perf_counter()
        result.save(save)
        found |= {"save_s": time.perf_counter() - began, "saved_mb": memory_kb()["VmHWM"] * 1.024e-3}
        found["report_mb"] = (Path(save) / "report.html").stat().st_size / 1e6
    return found


def names(table: str, n: int) -> list[str]:
    """Of the first rows."""
    return [f"{Path(table).name}:{i}" for i in range(1, n + 1)]


def killed(table: Path, ref: Path, cmp: Path, store: Path, threads: int, after: int) -> dict[str, int]:
    """Begins a run, ends all its processes once so many windows are stored, and says how many each model has."""
    code = (
        f"import sys; sys.path.insert(0, {str(BENCH)!r}); from bench_rows import score_rows; "
        f"score_rows({str(table)!r}, {str(ref)!r}, {str(cmp)!r}, {str(store)!r}, {threads}, None)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while sum(stored(store).values()) < after and run.poll() is None:
        time.sleep(0.5)
    for pid in tree(run.pid):
        os.kill(pid, signal.SIGKILL)
    run.wait()
    return stored(store)


def stored(path: Path) -> dict[str, int]:
    """How many windows of each model are in a store, by the model's content."""
    from ppldelta.store.pruning import summary
    from ppldelta.store.store import Store

    if not path.exists():
        return {}
    with Store(path) as store:
        return {each.sha256: each.n_windows for each in summary(store)}


def main() -> int:
    """Runs it."""
    chosen = options(__doc__ or "", n_runs=1)
    ref, cmp = cached(chosen.work, "least"), cached(chosen.work, "least", noise=0.05)
    sizes = QUICK if chosen.quick else SIZES
    frame: list[dict[str, Any]] = []
    wrong: list[str] = []
    for n in sizes:
        table = write_rows(chosen.work / f"rows{n}.jsonl", n)
        (chosen.work / "alone").mkdir(exist_ok=True)
        alone = write_rows(chosen.work / "alone" / table.name, N_ALONE)
        store = chosen.work / f"rows{n}.sqlite"
        for each in chosen.work.glob(f"{store.name}*"):
            each.unlink()
        is_last = n == sizes[-1]
        before = killed(table, ref, cmp, store, chosen.threads, n // 2) if is_last else {}
        arguments = {"ref": ref, "cmp": cmp, "threads": chosen.threads}
        run = call(score_rows, table=table, store=store, save=chosen.work / f"rows{n}", **arguments)
        answer = run.answer
        n_evaluated = sum(answer["evaluated"].values())
        frame.append(
            {
                "case": f"{n:,} rows",
                "contestant": "killed and resumed" if is_last else "at once",
                **{name: answer[name] for name in COSTS},
                "peak_mb": run.peak_mb,
                "n_stored": sum(before.values()),
                "n_evaluated": n_evaluated,
                "us_per_window": 1e6 * answer["score_s"] / max(n_evaluated, 1),
            }
        )
        by_itself = call(score_rows, table=alone, store=None, save=None, **arguments).answer
        if by_itself["some"] != answer["some"]:
            wrong.append(f"{n} rows: the first {N_ALONE} have other numbers by themselves")
        if answer["n_rows"] != n:
            wrong.append(f"{n} rows: {answer['n_rows']} in the result")
        if is_last and sum(stored(store).values()) != sum(before.values()) + n_evaluated:
            wrong.append(f"{n} rows: {before} were stored, and {answer['evaluated']} evaluated again")
    small, large = frame
    small["kb_per_row"] = None
    large["kb_per_row"] = 1e3 * (large["parent_mb"] - small["parent_mb"]) / (sizes[1] - sizes[0])
    if large["kb_per_row"] > KB_PER_ROW and not chosen.quick:
        wrong.append(f"{large['kb_per_row']:.1f} kB for each row, {KB_PER_ROW} allowed")
    if large["us_per_window"] > TIME_RATIO * small["us_per_window"] and not chosen.quick:
        wrong.append("a row takes longer in a larger table")
    publish(frame, chosen)
    for each in wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
