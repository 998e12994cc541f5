"""What every benchmark shares: interleaved runs of several contestants, and one tidy frame of what they cost.

A contestant is a function without arguments that gives a `Run`. Contestants take turns, so that whatever else happens
on the machine hits all of them; a row is the median of a contestant's runs, and ratios are ratios of medians.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from package import PACKAGE as PACKAGE
from package import require as require

BENCH = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """What one run cost, and its answer. MB are 10^6 bytes; None where it was not measured."""

    wall_s: float
    cpu_s: float
    peak_mb: float | None = None
    written_mb: float | None = None
    answer: Any = None

    @staticmethod
    def total(runs: Iterable[Run]) -> Run:
        """Runs one after the other as one: costs add up, of peaks the highest counts, the answers become a list."""
        runs = list(runs)
        peaks, written = [run.peak_mb for run in runs], [run.written_mb for run in runs]
        return Run(
            sum(run.wall_s for run in runs),
            sum(run.cpu_s for run in runs),
            None if None in peaks else max(peaks),
            None if None in written else sum(written),
            [run.answer for run in runs],
        )


Contestant = Callable[[], Run]


def timed(work: Callable[[], Any], answer: Callable[[Any], Any] = lambda value: value) -> Contestant:
    """A contestant in this process; CPU time is its and its workers'. `answer` runs after the clock has stopped."""

    def contestant() -> Run:
        wall, cpu = time.perf_counter(), tree_cpu_s()
        value = work()
        wall, cpu = time.perf_counter() - wall, tree_cpu_s() - cpu
        return Run(wall, cpu, answer=answer(value))

    return contestant


def child(command: list[object]) -> Run:
    """Runs a program. The answer is its stdout and stderr as one text.

    Peak and CPU time are those of the program and all that it starts: models run in processes of their own. The peak is
    the highest that `_Watcher` saw; the bytes written are `wchar` of /proc/PID/io, those of ended children included
    (pipes too), less what went to stdout and stderr.

    Raises:
        RuntimeError: the program failed.
    """
    # what `import ppldelta` sets for llama.cpp's threads is part of ppldelta, not of the ways that it is compared with
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    with tempfile.TemporaryFile() as out:
        wall = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=out, env=environment)
        watcher = _Watcher(process.pid)
        watcher.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # still there to be asked
        wall = time.perf_counter() - wall
        watcher.stop()
        io = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{printed[-4000:].decode(errors='replace')}")
    written = int(io["wchar"]) - len(printed)
    # what was waited for is known exactly; of a process that was left behind, its time when it was last seen
    cpu = max(usage.ru_utime + usage.ru_stime, sum(watcher.cpu_s.values()))
    return Run(wall, cpu, watcher.peak_kb * 1024 / 1e6, written / 1e6, printed.decode(errors="replace"))


class _Watcher(threading.Thread):
    """Looks at a process and all its descendants every 100 ms until it is stopped.

    Their memory is the sum of each one's anonymous and shared memory, which the kernel counts anyway, and of their
    shares of the resident pages of files. To learn the shares costs the kernel a walk over all pages, tens of
    milliseconds, and would slow down what is timed: they are read again only when other pages of files are resident.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_kb = 0
        self.cpu_s: dict[int, float] = {}
        self._pid = pid
        self._ended = threading.Event()

    def run(self) -> None:
        mapped: dict[int, int] = {}
        shares_kb = 0
        while not self._ended.wait(0.1):
            pids = tree(self._pid)
            seen = {pid: memory_kb(pid) for pid in pids}
            before, mapped = mapped, {pid: memory.get("RssFile", 0) for pid, memory in seen.items()}
            if mapped != before:
                shares_kb = sum(shared_kb(pid) for pid in pids)
            own_kb = sum(memory.get("RssAnon", 0) + memory.get("RssShmem", 0) for memory in seen.values())
            self.peak_kb = max(self.peak_kb, own_kb + shares_kb)
            self.cpu_s.update((pid, _cpu_s(pid)[0]) for pid in pids)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def tree(pid: int) -> list[int]:
    """A process and its descendants, as far as they are still alive."""
    pids = [pid]
    for parent in pids:  # grows meanwhile
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with contextlib.suppress(OSError):
                pids += map(int, (task / "children").read_text().split())
    return pids


def shared_kb(pid: int) -> int:
    """A process's share of the files that it maps, or all of them where that is hidden.

    What several processes map counts once in the sum of their shares.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return memory_kb(pid).get("RssFile", 0)
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss_File:")), 0)


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU time of a process, and of those children that it has waited for; zero where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0, 0.0
    own, own_system, waited, waited_system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15])
    return own + own_system, waited + waited_system


def tree_cpu_s() -> float:
    """CPU time of this process (all threads) and all that it started, to the clock tick."""
    here, *below = tree(os.getpid())
    return time.process_time() + _cpu_s(here)[1] + sum(sum(_cpu_s(pid)) for pid in below)


def memory_kb(pid: int | str = "self") -> dict[str, int]:
    """The fields of /proc/PID/status that are in kB; none where the process has ended or has no memory any more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines)
        if value.endswith(" kB")
    }


def watched(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Runs `work`; its wall and CPU time, and this process's memory before and at its highest meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    before = memory_kb()["VmRSS"]
    wall, cpu = time.perf_counter(), time.process_time()
    value = work()
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return value, {**cost, "before_mb": before * 1.024e-3, "peak_mb": memory_kb()["VmHWM"] * 1.024e-3}


def call(function: Callable[..., Any], **arguments: Any) -> Run:
    """A function of a benchmark, called in a fresh Python: start and imports are part of its cost. JSON in and out."""
    module = Path(inspect.getfile(function)).stem
    code = (
        f"import json, sys; sys.path.insert(0, {str(BENCH)!r}); from {module} import {function.__name__} as f; "
        "print('\\n' + json.dumps(f(**json.loads(sys.argv[1]))))"
    )
    run = child([sys.executable, "-c", code, json.dumps(arguments, default=str)])
    return Run(run.wall_s, run.cpu_s, run.peak_mb, run.written_mb, json.loads(run.answer.splitlines()[-1]))


def interleave(contestants: dict[str, Contestant], n_runs: int, *, warm_up: bool = True) -> dict[str, list[Run]]:
    """Lets contestants take turns; every second round goes backwards. A warm-up round is not counted."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for i in range(-int(warm_up), n_runs):
        for name in list(contestants)[:: -1 if i % 2 else 1]:
            print(f"  {'warm-up' if i < 0 else f'run {i + 1}/{n_runs}'}: {name}", file=sys.stderr, flush=True)
            os.sync()  # what the one before wrote is not written at this one's cost
            run = contestants[name]()
            if i >= 0:
                runs[name].append(run)
    return runs


def rows(
    case: str,
    runs: dict[str, list[Run]],
    *,
    n_units: dict[str, int] | int = 1,
    limits: dict[str, float] | None = None,
    baseline: str | None = None,
) -> list[dict[str, Any]]:
    """A row for each contestant.

    Args:
        case: what was run.
        runs: what `interleave` gave.
        n_units: what a contestant got done, in scored tokens or whatever the benchmark names; ratios are per unit.
        limits: highest `ratio` that is allowed.
        baseline: name of the row that others are compared with; the first by default.
    """
    units = n_units if isinstance(n_units, dict) else dict.fromkeys(runs, n_units)
    baseline = baseline or next(iter(runs))

    def median(name: str, field: str) -> float | None:
        values = [getattr(run, field) for run in runs[name]]
        return None if None in values else statistics.median(values)

    frame = []
    for name, each in runs.items():
        wall, cpu = (median(name, field) / units[name] for field in ("wall_s", "cpu_s"))
        frame.append(
            {
                "case": case,
                "contestant": name + (" (baseline)" if name == baseline else ""),
                "n_runs": len(each),
                "wall_s": median(name, "wall_s"),
                "wall_min_s": min(run.wall_s for run in each),
                "wall_max_s": max(run.wall_s for run in each),
                "cpu_s": median(name, "cpu_s"),
                "peak_mb": median(name, "peak_mb"),
                "written_mb": median(name, "written_mb"),
                "n_units": units[name],
                "us_per_unit": 1e6 * wall,
                "ratio": wall / (median(baseline, "wall_s") / units[baseline]),
                "cpu_ratio": cpu / (median(baseline, "cpu_s") / units[baseline]),
                "limit": (limits or {}).get(name),
            }
        )
    return frame


def options(description: str, *, n_runs: int = 5, n_cases: int = 0) -> argparse.Namespace:
    """The command line that all benchmarks share; with `n_cases`, one where a single case can be chosen."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small: shows that everything runs; figures mean little")
    parser.add_argument("--runs", type=int, help=f"counted rounds (default: {n_runs}, quick: 2)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=BENCH / "work", help="models and temporary files (%(default)s)")
    parser.add_argument("--out", type=Path, help="also save the table, as FILE.json (with the machine) or FILE.csv")
    if n_cases:
        parser.add_argument("--case", type=int, choices=range(1, n_cases + 1), help="only this one (default: all)")
    chosen = parser.parse_args()
    chosen.runs = chosen.runs or (2 if chosen.quick else n_runs)
    chosen.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    if load > 0.3:
        print(f"warning: the load is {load:.1f}; figures to publish need an idle machine", file=sys.stderr)
    return chosen


def publish(frame: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    """Prints the table and saves it where the user asked for that."""
    table = pl.DataFrame(frame, infer_schema_length=None)
    machine = {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "cpu": next(
            (s.split(": ")[1] for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s), ""
        ),
        "threads": chosen.threads,
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    shown = table.select(column for column in table.columns if table[column].null_count() < len(table))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=240, fmt_str_lengths=80, tbl_hide_dataframe_shape=True,
                   tbl_hide_column_data_types=True, float_precision=3, tbl_formatting="MARKDOWN"):  # fmt: skip
        print("  ".join(f"{key}: {value}" for key, value in machine.items()), shown, sep="\n")
    if chosen.out and chosen.out.suffix == ".csv":
        table.write_csv(chosen.out)
    elif chosen.out:
        chosen.out.write_text(json.dumps({**machine, "rows": frame}, indent=2) + "\n")
