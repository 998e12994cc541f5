"""Runs the claims about a GPU, each in a process of its own, and writes a verdict per claim (see gpu_check.sh).

A claim that fails, aborts or takes too long leaves the others alone; the whole ends by itself.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_device import Device, Verdict
from package import PACKAGE

BENCH = Path(__file__).parent
CLAIMS = {
    "gpu_numbers.device": 20,
    "gpu_check.tests": 90,
    "gpu_numbers.kernels": 60,
    "gpu_numbers.against_cpu": 60,
    "gpu_numbers.without_layers": 40,
    "gpu_numbers.packing": 30,
    "gpu_numbers.rounding": 40,
    "gpu_speed.micro_batches": 120,
    "gpu_speed.packing": 90,
    "gpu_speed.llama_bench": 75,
    "gpu_speed.host": 15,
    "gpu_memory.kept": 40,
    "gpu_memory.too_large": 30,
    "gpu_memory.killed": 30,
    "gpu_memory.full": 60,
    "gpu_numbers.large_model": 60,
}
"""Functions, and the most seconds that each may take. The most important come first, since time may run out."""


def tests(on: Device) -> None:
    """The engine's tests, on this machine's device; those for a GPU must not have been skipped."""
    report = on.into.with_suffix(".xml")
    modules = (BENCH / "gpu_tests.txt").read_text().split()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *modules]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = subprocess.run(command, cwd=BENCH.parent, env=environment, stdout=subprocess.PIPE, text=True).stdout
    print(said)
    cases = list(xml.parse(report).iter("testcase")) if report.exists() else []
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    n_passed = len(cases) - len(bad) - len(skipped)
    names = ", ".join(case.get("name") for case in bad)
    figure = f"{n_passed} passed, {len(bad)} failed, {len(skipped)} skipped{': ' if names else ''}{names}"
    on.say("the engine's tests pass", figure, n_passed > 0 and not bad, data=said[-6000:])
    on_gpu = [case for case in cases if re.search(r"\bgpu\b", case.get("name"))]
    n_ran = len([case for case in on_gpu if case not in skipped])
    on.say("tests that ran on the GPU", f"{n_ran} of {len(on_gpu)}", None if on.rehearsal else n_ran == len(on_gpu) > 0)


@contextmanager
def server(threads: int) -> Iterator[tuple[str, int]]:
    """An RPC server on loopback, which stands in for a GPU with 4 GiB of memory.

    It ignores SIGPIPE, as `ppldelta rpc-server` does: it outlives clients that are killed.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(PACKAGE / "bin" / "ggml-rpc-server"), "-H", "127.0.0.1", "-p", str(port), "-t", str(threads)]
    environment = {**os.environ, "GOMP_SPINCOUNT": "1000"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, restore_signals=False
    ) as process:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (2**32, 2**32))
        try:
            for _ in range(500):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"127.0.0.1:{port}", process.pid
        finally:
            process.kill()


def run(name: str, limit_s: float, common: list[str], out: Path) -> list[Verdict]:
    """A claim in a process of its own; what went wrong with it is a verdict too."""
    into = out / f"{name}.jsonl"
    into.unlink(missing_ok=True)
    started = time.perf_counter()
    with (out / "claims.log").open("a") as log:
        print(f"\n=== {name}", file=log, flush=True)
        child = subprocess.Popen(
            [sys.executable, __file__, *common, "--claim", name, "--into", str(into), "--seconds", str(limit_s)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            ended = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and what it started
            child.wait()
        print(f"=== {name}: {time.perf_counter() - started:.1f} s", file=log)
    verdicts = [Verdict(**json.loads(line)) for line in into.read_text().splitlines()] if into.exists() else []
    into.unlink(missing_ok=True)
    into.with_suffix(".xml").unlink(missing_ok=True)
    if ended != 0:
        said = (out / "claims.log").read_text(errors="replace").split(f"=== {name}\n")[-1].strip().splitlines()
        why = f"was given up after {limit_s:.0f} s" if ended is None else f"ended with {ended}"
        last = " | ".join(line.strip() for line in said[:-1][-3:])[-500:]
        verdicts.append(Verdict(f"{name} as a whole", f"{why}: {last}", "unknown"))
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="folder for verdicts.txt, results.json and claims.log")
    parser.add_argument("--work", type=Path, required=True, help="folder for models, some gigabytes")
    parser.add_argument("--seconds", type=float, default=300, help="time for all claims")
    parser.add_argument("--llama-bench", type=lambda text: Path(text) if text else None, help="the program")
    parser.add_argument("--rehearsal", action="store_true", help="an RPC server and small models instead of a GPU")
    parser.add_argument("--only", nargs="+", choices=CLAIMS, metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument("--claim", help=argparse.SUPPRESS)  # the process of one claim
    for name, kind in (("--into", Path), ("--rpc", str), ("--server", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.claim:
        module, _, function = args.claim.partition(".")
        getattr(importlib.import_module(module), function)(Device.of(args))
        return 0
    return check(args)


def check(args: argparse.Namespace) -> int:
    deadline = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    (args.out / "claims.log").unlink(missing_ok=True)
    common = ["--work", str(args.work)]
    common += ["--llama-bench", str(args.llama_bench)] if args.llama_bench else []
    found: dict[str, list[Verdict]] = {}
    with (args.out / "verdicts.txt").open("w") as file:

        def show(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        if args.rehearsal:
            show("A rehearsal on an RPC server on loopback, with small models: the figures mean nothing.")
        for name in args.only or CLAIMS:
            left = deadline - time.monotonic()
            started = time.monotonic()
            if left < 5:
                found[name] = [Verdict(f"{name} as a whole", "no time was left", "unknown")]
            elif args.rehearsal:
                with server(threads=2) as (rpc, pid):
                    found[name] = run(
                        name, min(CLAIMS[name] * 3, left), [*common, "--rpc", rpc, "--server", str(pid)], args.out
                    )
            else:
                found[name] = run(name, min(CLAIMS[name], left), common, args.out)
            for verdict in found[name]:
                show(str(verdict))
            show(f"        ({name}: {time.monotonic() - started:.0f} s)")
            results = {key: [vars(verdict) for verdict in verdicts] for key, verdicts in found.items()}
            (args.out / "results.json").write_text(
                json.dumps({"rehearsal": args.rehearsal, "claims": results}, indent=1)
            )
        words = [verdict.verdict for verdicts in found.values() for verdict in verdicts]
        show(", ".join(f"{words.count(word)} {word}" for word in ("ok", "WRONG", "unknown")))
    return 1 if "WRONG" in words else 0


if __name__ == "__main__":
    sys.exit(main())
