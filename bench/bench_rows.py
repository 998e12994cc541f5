"""(rows) A table of many short rows: time and memory of each part of a run at two sizes, one killed and resumed.

Ends with status 1 if a part of the larger run takes more memory or time for each row than the limits say, if a killed
run evaluates a window twice, or if a row has other numbers than alone or in the smaller table. The model is as
small as llama.cpp allows, so that what is measured is what goes on around it.

    python bench/bench_rows.py --threads 1    # 100,000 and 1,000,000 rows: 75 minutes, 2 busy cores, 2026-11-29
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import BENCH, memory_kb, options, publish, tree
from make_model import cached

SIZES, QUICK = (100_000, 1_000_000), (2_000, 8_000)
KB_PER_ROW = {"read": 0.45, "tokenize": 1.2, "evaluate": 1.8, "frames": 4.8, "save": 6.4}
"""Most memory of the caller at its peak in each part, for each row more: a third above what was measured."""
TIME_RATIO = 1.5
"""Most time for each row of the larger table, in that of the smaller one, of all parts together."""
WORKER_MB = 100
"""Most memory of the worker, which holds a shard of the table (76 MB were measured)."""
N_ALONE = 50
"""Rows that are scored by themselves as well."""
WORDS = """
the of and to in is was for on that with as by at from it his her they we river stone light green cloud house train
bread winter summer market garden window letter music
""".split()  # noqa: SIM905


class Parts:
    """Time and peak memory of the parts of a run, each of which ends where the next one begins."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, float]] = {}
        self._name, self._began, self._cpu = "", 0.0, 0.0

    def begin(self, name: str) -> None:
        """Goes on with another part, or with the same one."""
        if name == self._name:
            return
        self.end()
        for pid in tree(os.getpid()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM starts again from here
        self._name, self._began, self._cpu = name, time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Nothing goes on."""
        if not self._name:
            return
        workers = [memory_kb(pid).get("VmHWM", 0) for pid in tree(os.getpid())[1:]]
        cost = {
            "wall_s": time.perf_counter() - self._began,
            "caller_cpu_s": time.process_time() - self._cpu,
            "caller_mb": memory_kb()["VmHWM"] * 1.024e-3,
            "worker_mb": max(workers, default=0) * 1.024e-3,
        }
        self.costs[self._name] = cost
        print(f"  {self._name}: {cost}", file=sys.stderr, flush=True)
        self._name = ""

    def at_calls(self, module: Any, function: str, name: str) -> None:
        """Begins a part whenever a function of a module is called."""
        called: Callable[..., Any] = getattr(module, function)

        def begun(*arguments: Any, **more: Any) -> Any:
            self.begin(name)
            return called(*arguments, **more)

        setattr(module, function, begun)


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


def score_rows(
    table: str, ref: str, cmp: str, store: str | None, threads: int, save: str | None, n_first: int
) -> dict[str, Any]:
    """Scores a table, and tells what that took and gave; `digest` is of the values of its first `n_first` rows."""
    import ppldelta
    from ppldelta.engine.remote import RemoteModel
    from ppldelta.run import frames, job, scoring

    parts = Parts()
    parts.at_calls(job, "load_documents", "read")
    parts.at_calls(job, "as_texts", "tokenize")
    parts.at_calls(scoring, "evaluate", "evaluate")
    parts.at_calls(frames, "as_result", "frames")
    evaluated: dict[str, int] = {}
    score = RemoteModel.score

    def spied(model: RemoteModel, batches: Any, *rest: Any, **more: Any) -> Any:
        evaluated[model.label] = len(batches.at)
        return score(model, batches, *rest, **more)

    RemoteModel.score = spied  # type: ignore[method-assign, assignment]
    result = ppldelta.score(table, ref, [cmp], store=store, threads=threads)
    if save:
        parts.begin("save")
        result.save(save)
    parts.end()
    found: dict[str, Any] = {"evaluated": evaluated, "n_rows": result.documents.height, "parts": parts.costs}
    first = result.tokens.filter(result.tokens["document"].is_in(names(table, n_first)))
    values = first["logp_ref"].to_numpy().tobytes() + first["logp_cmp"].to_numpy().tobytes()
    found["digest"] = hashlib.sha256(values).hexdigest()
    some = result.tokens.filter(result.tokens["document"].is_in(names(table, N_ALONE)))
    found["some"] = some.select("logp_ref", "logp_cmp").to_dict(as_series=False)
    if save:
        found["report_mb"] = (Path(save) / "report.html").stat().st_size / 1e6
    return found


def names(table: str, n: int) -> list[str]:
    """Of the first rows."""
    return [f"{Path(table).name}:{i}" for i in range(1, n + 1)]


def begun(**arguments: object) -> subprocess.Popen[bytes]:
    """`score_rows` in a Python of its own, whose progress is seen here."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(BENCH)!r}); from bench_rows import score_rows; "
        "print(json.dumps(score_rows(**json.loads(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, json.dumps(arguments, default=str)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)


def ended(run: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What it says."""
    printed, _ = run.communicate()
    if run.returncode:
        raise RuntimeError(f"scoring ended with {run.returncode}")
    answer: dict[str, Any] = json.loads(printed)
    return answer


def killed(run: subprocess.Popen[bytes], store: Path, after: int) -> dict[str, int]:
    """Ends all processes of a run once so many windows are stored, and says how many each model has."""
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


def beyond_limits(small: dict[str, Any], large: dict[str, Any]) -> list[str]:
    """What is more than the limits say, of the parts of two runs."""
    wrong = []
    for part, most in KB_PER_ROW.items():
        n_more = large[part]["n_rows"] - small[part]["n_rows"]
        used = 1e3 * (large[part]["caller_mb"] - small[part]["caller_mb"]) / n_more
        if used > most:
            wrong.append(f"{part}: {used:.2f} kB for each row more, {most} allowed")
    before, after = (sum(part["us_per_unit"] for part in run.values()) for run in (small, large))
    if after > TIME_RATIO * before:
        wrong.append(f"{after:.0f} µs for each row of the larger table, {before:.0f} of the smaller one")
    if (worker_mb := max(part["worker_mb"] for part in large.values())) > WORKER_MB:
        wrong.append(f"the worker takes {worker_mb:.0f} MB, {WORKER_MB} allowed")
    return wrong


def main() -> int:
    """Runs it."""
    chosen = options(__doc__ or "", n_runs=1)
    ref, cmp = cached(chosen.work, "least"), cached(chosen.work, "least", noise=0.05)
    sizes = QUICK if chosen.quick else SIZES
    frame: list[dict[str, Any]] = []
    wrong: list[str] = []
    digests: set[str] = set()
    for n in sizes:
        table = write_rows(chosen.work / f"rows{n}.jsonl", n)
        (chosen.work / "alone").mkdir(exist_ok=True)
        alone = write_rows(chosen.work / "alone" / table.name, N_ALONE)
        store = chosen.work / f"rows{n}.sqlite"
        for each in chosen.work.glob(f"{store.name}*"):
            each.unlink()
        is_last = n == sizes[-1]
        arguments = {"ref": ref, "cmp": cmp, "threads": chosen.threads, "n_first": sizes[0]}
        of_table = {**arguments, "table": table, "store": store, "save": chosen.work / f"rows{n}"}
        before = killed(begun(**of_table), store, n // 2) if is_last else {}
        n_before = sum(before.values())
        if is_last:
            print(f"  ended by kill -9 with {n_before:,} windows in the store", file=sys.stderr, flush=True)
        answer = ended(begun(**of_table))
        n_evaluated = sum(answer["evaluated"].values())
        for part, cost in answer["parts"].items():
            n_units = n_evaluated if part == "evaluate" else n
            frame.append(
                {"case": f"{n:,} rows", "contestant": part, "n_rows": n, "n_units": n_units, **cost}
                | {"us_per_unit": 1e6 * cost["wall_s"] / max(n_units, 1)}
            )
        print(f"  {n_evaluated:,} windows evaluated; report: {answer['report_mb']:.1f} MB", file=sys.stderr, flush=True)
        by_itself = ended(begun(**arguments, table=alone, store=None, save=None))
        if by_itself["some"] != answer["some"]:
            wrong.append(f"{n} rows: the first {N_ALONE} have other numbers by themselves")
        digests.add(answer["digest"])  # the first rows of both tables are the same ones
        if len(digests) > 1:
            wrong.append(f"{n} rows: the first {sizes[0]} have other numbers than in the smaller table")
        if answer["n_rows"] != n:
            wrong.append(f"{n} rows: {answer['n_rows']} in the result")
        if is_last and sum(stored(store).values()) != n_before + n_evaluated:
            wrong.append(f"{n} rows: {before} were stored, and {answer['evaluated']} evaluated again")
    if not chosen.quick:
        wrong += beyond_limits(*({row["contestant"]: row for row in frame if row["n_rows"] == n} for n in sizes))
    publish(frame, chosen)
    for each in wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
