"""Claims about numbers: those of the device against the CPU's, of shared batches against windows alone, of reruns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_device import Device, threads, windows
from ppldelta import demo
from ppldelta.engine import isolated, native
from ppldelta.engine import kernels as engine_kernels
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.session import Session
from ppldelta.run import job
from ppldelta.run.evaluation import evaluate
from ppldelta.run.lockstep import Lockstep
from ppldelta.run.request import Request
from ppldelta.run.settings import Settings
from ppldelta.text.windows import Window, cut_windows

MODELS = (demo.REFERENCE, *demo.COMPARISONS)
MOST_MEAN = 2e-3
"""What docs/builds.md allows the mean of a text to move by where batches differ, in nats."""
MOST_TYPICAL = 0.02
"""Mean absolute difference of a token, as tests/test_device_runs.py allows it."""


def device(on: Device) -> None:
    """The package finds the device."""
    with on.session() as session:
        build = session.call(here, label="", doing="asking")
    found = [name for name in build.devices if not name.startswith("CPU")]
    on.say("the package finds the device", "; ".join(found) or "none", bool(found) and build.gpu, data=build.devices)
    on.say("llama.cpp's line on the system", build.system.strip())


def kernels(on: Device) -> None:
    """Weights of every type are multiplied right on the device, as `ppldelta doctor` tries them."""
    products, crashes = isolated.check(engine_kernels.types())
    for name in dict.fromkeys(each.kernel.device for each in products):
        mine = [each for each in products if each.kernel.device == name]
        wrong = [f"{each.kernel} (error {each.worst:.3g} times rounding's)" for each in mine if not each.right]
        figure = f"{len(mine) - len(wrong)} of {len(mine)} types and layouts right; {'; '.join(wrong)}"
        on.say(f"products on {name}", figure, not wrong, data={"worst": max(each.worst for each in mine)})
    on.say(
        "no kernel ends its process",
        "; ".join(f"{each.kernel}: {each.said}" for each in crashes) or "none",
        not crashes,
    )


def here(run: int) -> native.Build:
    return native.build()


def scored(
    session: Session, n_gpu_layers: int | None, most: int | None
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """The demo as `ppldelta.score` evaluates it: log-probabilities of each model, and what ran."""
    settings = Settings(windows="every", max_windows=most, n_gpu_layers=n_gpu_layers)
    request = Request.of(MODELS[0], MODELS[1:], settings)
    with job.opened(request, session, demo.CORPUS, store=None, progress=False) as work:
        done = [evaluate(model, work, Lockstep()) for model in work.models]
        what = {"signature": str(work.settings.signature(work.build)), "n_windows": len(work.windows)}
        what["tokens_per_s"] = work.n_fed * len(done) / sum(each.time_s for each in done)
    return {each.reference.label: each.logp.astype(np.float64) for each in done}, what


def against_cpu(on: Device) -> None:
    """The demo's models and texts, on the device and on the CPU."""
    with on.session() as session:
        there, what = scored(session, None, None)
    on.say("what ran on the device", what["signature"], "|n_seq_max:32|" in what["signature"], data=what)
    with on.session(gpu=False) as session:
        cpu, cpu_what = scored(session, None, None)
    on.say("what ran on the CPU", cpu_what["signature"], "|backend:CPU|" in cpu_what["signature"], data=cpu_what)
    for name, logp in there.items():
        difference = logp - cpu[name]
        absolute = np.abs(difference)
        figures = {
            "n_tokens": len(logp),
            "mean_abs": absolute.mean(),
            "largest": absolute.max(),
            "mean": difference.mean(),
            "p99": np.quantile(absolute, 0.99),
        }
        data = {key: float(value) for key, value in figures.items()}
        on.at_most(f"{name}: mean |difference| of a token to the CPU", absolute.mean(), "nats", MOST_TYPICAL, **data)
        on.at_most(f"{name}: largest |difference| of a token to the CPU", absolute.max(), "nats")
        on.at_most(f"{name}: |difference| of the mean to the CPU", abs(difference.mean()), "nats", MOST_MEAN)
    reference = MODELS[0].stem
    for name in list(there)[1:]:
        deltas = [each[name] - each[reference] for each in (there, cpu)]
        for part, sign in (("gain", 1), ("loss", -1)):
            moved = [float(np.maximum(sign * delta, 0).mean()) for delta in deltas]
            on.at_most(f"{name}: {part} ({moved[1]:.4f} on the CPU) moves by", abs(moved[0] - moved[1]), "nats")


def without_layers(on: Device) -> None:
    """With no layers on the device, numbers are the CPU's bit for bit, and no context of it is made."""
    with on.session() as session:
        there, what = scored(session, 0, 2)
    with on.session(gpu=False) as session:
        cpu, _ = scored(session, 0, 2)
    same = all(np.array_equal(there[name], cpu[name]) for name in cpu)
    on.say("n_gpu_layers=0 gives the CPU's numbers bit for bit", str(same), same, data=what)


def texts(model: Model) -> list[Window]:
    """Beginnings of the demo's documents, 30 to 154 tokens."""
    bos = model.info.bos if model.info.add_bos else None
    tokens = [model.tokenize(path.read_bytes()) for path in sorted(demo.CORPUS.glob("*/*.*"))[:32]]
    return [cut_windows(each[: 30 + 4 * i], rule="every", n_ctx=2048, bos=bos)[0] for i, each in enumerate(tokens)]


def packing(on: Device) -> None:
    """Short documents in shared batches against each alone, on the demo's models."""
    on.use()
    for path in MODELS:
        model = Model(path)
        short = texts(model)
        size = {"n_ctx": 8192, "n_ubatch": 256, "threads": 4}
        scorer = Scorer(model, **size)
        alone = np.concatenate([scorer.score(each) for each in short]).astype(np.float64)
        packed = np.concatenate(Scorer(model, **size, n_seq_max=32).score_together(short))
        halves = Scorer(model, **size | {"n_ubatch": 64})
        other = np.concatenate([halves.score(each) for each in short])
        difference, noise = packed - alone, other - alone
        name = path.stem
        on.at_most(
            f"{name}: 32 documents in a batch, |difference| of the mean", abs(difference.mean()), "nats", MOST_MEAN
        )
        on.at_most(f"{name}: the same, mean |difference| of a token", np.abs(difference).mean(), "nats", MOST_TYPICAL)
        on.at_most(f"{name}: the same, largest |difference| of a token", np.abs(difference).max(), "nats")
        on.at_most(f"{name}: n_ubatch 64 instead, largest |difference| of a token", np.abs(noise).max(), "nats")


def rounding(on: Device) -> None:
    """Reruns are equal bit for bit: in the same context, in another, in another process, with other CPU threads."""
    found = {}
    for process in ("first", "another"):
        with on.session() as session:
            found[process] = session.call(again, label="", doing="scoring")
    for name, path in (("trained", MODELS[0]), ("finetune", MODELS[1])):
        for kind in ("alone", "packed"):
            base = found["first"][str(path), kind, 1, 0]
            for what, other in {
                "again in the same context": found["first"][str(path), kind, 1, 1],
                "in another context with other threads": found["first"][str(path), kind, 7, 0],
                "in another process": found["another"][str(path), kind, 1, 0],
            }.items():
                off = float(np.abs(other - base).max())
                same = np.array_equal(base, other)
                on.say(f"{name} model, {kind}, {what}: bit-identical", "yes" if same else f"off by {off:.3g}", same)


def again(run: int) -> dict[tuple[str, str, int, int], NDArray[np.float32]]:
    found = {}
    for path in MODELS[:2]:
        model = Model(path)
        short = texts(model)
        for n_threads in (1, 7):
            scorer = Scorer(model, n_ctx=8192, n_ubatch=256, threads=n_threads, n_seq_max=32)
            for time in range(2):
                alone = [scorer.score(each) for each in short]
                found[str(path), "alone", n_threads, time] = np.concatenate(alone)
                found[str(path), "packed", n_threads, time] = np.concatenate(scorer.score_together(short))
    return found


def large_model(on: Device) -> None:
    """The large model too is the same again, and near the CPU: a few windows, since the CPU is slow."""
    path = on.model()
    with on.session() as session:
        first, other = (session.call(large, path, label=path.stem, doing="scoring") for _ in range(2))
    same = np.array_equal(first, other)
    on.say(
        "large model: a rerun is bit-identical", "yes" if same else f"off by {np.abs(first - other).max():.3g}", same
    )
    with on.session(gpu=False) as session:
        cpu = session.call(large, path, label=path.stem, doing="scoring")
    difference = first.astype(np.float64) - cpu
    data = {"n_tokens": len(cpu), "mean": float(difference.mean())}
    on.at_most(
        "large model (random): mean |difference| of a token to the CPU", np.abs(difference).mean(), "nats", **data
    )
    on.at_most("large model (random): largest |difference| of a token to the CPU", np.abs(difference).max(), "nats")


def large(run: int, path: Path) -> NDArray[np.float32]:
    model = Model(path)
    scorer = Scorer(model, n_ctx=512, n_ubatch=256, threads=threads())
    return np.concatenate([scorer.score(each) for each in windows(2, 512, model.info.n_vocab, scored=0.5)])
