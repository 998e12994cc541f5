"""Lockstep: pairs against full logits and the patched tool, the plain numbers to the last bit, the store."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import llama_perplexity
from helpers.llama_ctypes import full_logits, log_softmax
from ppldelta import _core, demo, schema
from ppldelta.engine import kept, worker
from ppldelta.engine.native import Model, Scorer
from ppldelta.errors import ModelError
from ppldelta.store.pruning import prune, summary
from ppldelta.store.store import Store
from ppldelta.text.windows import Batch, Window, cut_windows

PROSE = sorted((demo.CORPUS / "prose").glob("*.txt"))[:3]
QUIET = {"ref": demo.REFERENCE, "progress": False, "n_ctx": 128}
PLAIN = ["logp_ref", "logp_cmp", "delta"]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on the number of windows of each model that is handed over in lockstep."""
    from ppldelta.engine.remote import RemoteModel

    found: list[int] = []
    whole = RemoteModel.score_pairs

    def score_pairs(self: RemoteModel, comparisons: list, batches: list, *rest: object) -> object:
        found.append((1 + len(comparisons)) * len(batches))
        return whole(self, comparisons, batches, *rest)

    monkeypatch.setattr(RemoteModel, "score_pairs", score_pairs)
    return found


@pytest.mark.parametrize("rule", ["perplexity", "every"])
def test_values_are_those_of_full_logits(rule: str) -> None:
    """An independent path: ctypes with the same micro-batches, all rows, log-softmax in float64."""
    ref, cmp = Model(demo.REFERENCE), Model(demo.COMPARISONS[2])
    window = cut_windows(ref.tokenize(PROSE[0].read_bytes()), rule=rule, n_ctx=256, bos=ref.info.bos)[0]
    _, rows = Scorer(ref, n_ctx=256, n_ubatch=128, threads=2).keep([window])
    _, (pairs,) = Scorer(cmp, n_ctx=256, n_ubatch=128, threads=2).compare([window], rows)
    steps = [range(*part[1:]) for (part,) in _core.cut([(len(window.tokens), window.first_output)], 128, 128)]
    log_p, log_q = (
        log_softmax(full_logits(model.path, window.tokens, 128, steps))[window.first_output :] for model in (ref, cmp)
    )
    at = np.arange(len(log_p)), window.targets
    assert pairs["kld"] == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum(axis=1), rel=1e-4, abs=1e-6)
    for name, log in (("ref", log_p), ("cmp", log_q)):
        assert pairs[f"entropy_{name}"] == pytest.approx(-(np.exp(log) * log).sum(axis=1), rel=1e-4)
        assert pairs[f"logp_top_{name}"] == pytest.approx(log.max(axis=1), rel=1e-4, abs=1e-5)
        assert np.array_equal(pairs[f"rank_{name}"], 1 + (log > log[at][:, None]).sum(axis=1))
        assert np.array_equal(pairs[f"top_{name}"], log.argmax(axis=1))


def test_a_model_is_at_no_distance_from_itself() -> None:
    result = ppldelta.score(PROSE, cmp=demo.REFERENCE, kld=True, store=None, **QUIET)
    assert result.tokens["kld"].max() == 0 == result.tokens["delta"].abs().max()
    assert result.tokens["same_top"].all()
    assert (result.tokens["rank_ref"] == result.tokens["rank_cmp"]).all()
    assert result.models["kld_max"].max() == result.models["kld_high"].drop_nulls().sum() == 0


@pytest.mark.parametrize("n_models", [1, 2])
def test_the_other_numbers_are_those_of_a_plain_run(n_models: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ppldelta.score(PROSE, cmp=demo.COMPARISONS[:n_models], store=None, **QUIET)
    handed = counted(monkeypatch)
    result = ppldelta.score(PROSE, cmp=demo.COMPARISONS[:n_models], kld=True, store=None, **QUIET)
    assert len(handed) == 1 and handed[0] % (1 + n_models) == 0, "one pass of the reference"
    assert result.tokens.drop(schema.PAIR).equals(plain.tokens.drop(schema.PAIR))
    assert plain.tokens["kld"].null_count() == len(plain.tokens)
    assert result.tokens.null_count().select(schema.PAIR).row(0) == (0,) * len(schema.PAIR)
    assert result.signature == plain.signature
    for name in ("gain", "loss", "ppl_cmp", "gain_low"):
        assert result.models[name].equals(plain.models[name])
    alone = ppldelta.score(PROSE, cmp=demo.COMPARISONS[0], kld=True, store=None, **QUIET)
    first = pl.col("model").cast(pl.String) == alone.tokens["model"][0]
    assert result.tokens.filter(first)["kld"].equals(alone.tokens["kld"])


def test_what_is_stored_is_not_evaluated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sqlite"
    one, two = demo.COMPARISONS[:2]
    handed = counted(monkeypatch)
    first = ppldelta.score(PROSE[:2], cmp=one, kld=True, store=path, **QUIET)
    n_two = handed[-1] // 2
    again = ppldelta.score(PROSE[:2], cmp=one, kld=True, store=path, **QUIET)
    assert len(handed) == 1 and again.tokens.equals(first.tokens)
    plan = ppldelta.plan(PROSE, cmp=[one, two], kld=True, store=path, **QUIET)
    n_all = plan.n_windows
    assert [each.n_stored for each in plan.models] == [0, n_two, 0]
    whole = ppldelta.score(PROSE, cmp=[one, two], kld=True, store=path, **QUIET)
    expected = [2 * n_two, 3 * (n_all - n_two)]  # by `two` alone, and by both
    assert sorted(handed[1:]) == sorted(expected), "each reads what it lacks, and the reference each window once"
    assert sum(expected) == sum(n_all - each.n_stored for each in plan.models), "as the dry run said"
    assert whole.tokens.equals(ppldelta.score(PROSE, cmp=[one, two], kld=True, store=None, **QUIET).tokens)
    monkeypatch.setattr(worker, "score", None)  # both plain log-probabilities are there as well
    plain = ppldelta.score(PROSE, cmp=[one, two], store=path, **QUIET)
    assert plain.tokens.select(PLAIN).equals(whole.tokens.select(PLAIN))
    with Store(path) as store:
        assert {each.n_windows for each in summary(store)} == {n_all}
        prune(store, model=demo.REFERENCE.name)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM passes WHERE length(reference) > 0").fetchone() == (0,)


def test_a_comparison_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    whole = Scorer.compare

    def compare(self: Scorer, *arguments: object) -> object:
        if self.model.path.name == demo.COMPARISONS[0].name:
            raise ModelError("it broke")
        return whole(self, *arguments)

    monkeypatch.setattr(Scorer, "compare", compare)
    with ThreadPoolExecutor(1) as executor:
        result = ppldelta.score(PROSE, cmp=demo.COMPARISONS[:2], kld=True, store=None, executor=executor, **QUIET)
    label = demo.COMPARISONS[0].name.removesuffix(".gguf")
    assert result.left_out == {"comparison": [label]}
    assert "it broke (in `" in result.warnings[-1]
    assert result.tokens["kld"].null_count() == 0


def test_a_comparison_that_ends_its_process_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: None
) -> None:
    """Which of several it was is not known: each is tried alone."""
    from ppldelta.engine.remote import RemoteModel
    from ppldelta.errors import ProcessLostError

    whole, bad = RemoteModel.score_pairs, demo.COMPARISONS[1].name.removesuffix(".gguf")

    def score_pairs(self: RemoteModel, comparisons: list, *rest: object) -> object:
        if bad in [each.label for each in comparisons]:
            raise ProcessLostError("the process ended")
        return whole(self, comparisons, *rest)

    monkeypatch.setattr(RemoteModel, "score_pairs", score_pairs)
    result = ppldelta.score(PROSE, cmp=demo.COMPARISONS, kld=True, store=None, **QUIET)
    assert result.left_out == {"comparison": [bad]}
    assert result.tokens["kld"].null_count() == 0
    assert result.tokens["model"].n_unique() == 2


def test_blocks_keep_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(n: int) -> Batch:
        window = Window(np.zeros(n, np.int32), 0, np.zeros(n, np.int32), np.arange(n, dtype=np.uint32))
        return Batch("a", (0,), (window,))

    monkeypatch.setattr(kept, "BUDGET_BYTES", 10 * 100 * 4)
    found = list(kept.blocks([batch(n) for n in (4, 6, 1, 10, 9, 1, 1)], 100))
    assert found == [range(2), range(2, 3), range(3, 4), range(4, 6), range(6, 7)]
    with pytest.raises(ModelError, match="11 rows of 100 logits"):
        list(kept.blocks([batch(4), batch(11)], 100))


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        run = {"cmp": demo.COMPARISONS[:2], "kld": True, "windows": "perplexity", "store": None, "executor": executor}
        whole = ppldelta.score(PROSE, **run, **QUIET)
        monkeypatch.setattr(kept, "BUDGET_BYTES", 100 * 3840 * 4)  # one window of 64 rows
        small = ppldelta.score(PROSE, **run, **QUIET)
        assert small.tokens.equals(whole.tokens)
        monkeypatch.setattr(kept, "BUDGET_BYTES", 10 * 3840 * 4)
        with pytest.raises(ModelError, match="rows of 3,840 logits"):
            ppldelta.score(PROSE, **run, **QUIET)


def test_kept_rows_are_of_the_same_windows(document: Path) -> None:
    tokens = Model(demo.REFERENCE).tokenize(document.read_bytes())[:40]
    window, other = (
        Window(part[:-1], 0, part[1:], np.arange(19, dtype=np.uint32)) for part in (tokens[:20], tokens[20:])
    )
    scorer = Scorer(Model(demo.REFERENCE), n_ctx=64, n_ubatch=64, threads=1)
    (logp,), rows = scorer.keep([window])
    assert np.array_equal(logp, scorer.score(window))
    ((again,), (pairs,)) = scorer.compare([window], rows)
    assert np.array_equal(again, logp) and not pairs["kld"].any()
    with pytest.raises(ValueError, match="other windows"):
        scorer.compare([other], rows)


def test_values_are_those_of_the_patched_tool(tmp_path: Path) -> None:
    """Its reference is rounded to 16 bits: a log-probability to a 65536th of the row's span, here 20 nats."""
    text = "\n".join(path.read_text() for path in PROSE)
    file, base, records = tmp_path / "text.txt", tmp_path / "base.kld", tmp_path / "records.npy"
    file.write_text(text)
    common = ["-f", file, "-c", 128, "-b", 128, "-ub", 128, "-t", 2]
    llama_perplexity("-m", demo.REFERENCE, *common, "--kl-divergence-base", base)
    said = llama_perplexity(
        "-m", demo.COMPARISONS[2], *common, "--kl-divergence-base", base, "--kl-divergence", "--signed-deltas", records
    )
    recorded = np.load(records)
    run = {"windows": "perplexity", "n_ubatch": 128, "store": None}
    result = ppldelta.score({"a": text}, cmp=demo.COMPARISONS[2], kld=True, **run, **QUIET)
    ours = result.tokens
    assert np.array_equal(ours["token"].to_numpy(), recorded["token"])
    assert ours["kld"].to_numpy() == pytest.approx(recorded["kld"], rel=2e-2, abs=2e-3)
    (row,) = result.summary.head(1).to_dicts()
    row |= result.models.filter(pl.col("category").is_null(), pl.col("weighting") == "tokens").row(0, named=True)
    levels = {"99.9%": "p999", "99.0%": "p99", "95.0%": "p95", "90.0%": "p90", "75.0%": "p75", "Median": "p50"}
    levels |= {"25.0%": "p25", "10.0%": "p10", "5.0%": "p05", "1.0%": "p01", "0.1%": "p001"}
    levels |= {"Minimum": "min", "Maximum": "max", "Mean": "mean", "RMS": "rms"}
    named = {
        "Mean PPL(Q)": row["ppl_cmp"], "Mean PPL(base)": row["ppl_ref"], "Mean PPL(Q)-PPL(base)": row["ppl_diff"],
        "Mean PPL(Q)/PPL(base)": row["ppl_ratio"], "Mean ln(PPL(Q)/PPL(base))": -row["delta"], "Mean KLD": row["kld"],
        "Cor(ln(PPL(Q)), ln(PPL(base)))": 100 * row["logp_cor"], "Same top p": 100 * row["same_top"],
    }  # fmt: skip
    named |= {f"{title} KLD": row[f"kld_{level}"] for title, level in levels.items() if f"kld_{level}" in row}
    named |= {f"{title} Δp": 100 * row[f"dp_{level}"] for title, level in levels.items() if f"dp_{level}" in row}
    printed = said.stdout[said.stdout.index("====== Perplexity") : said.stdout.index("====== Signed delta")]
    found = re.findall(r"^ *(\S.*?) *: *(-?[\d.]+)", printed, re.MULTILINE)
    theirs = {" ".join(title.split()): float(value) for title, value in found}
    assert theirs.keys() == named.keys()
    for title, value in theirs.items():
        assert named[title] == pytest.approx(value, rel=2e-3, abs=2e-2 if "PPL(" in title else 4e-3), title


def test_a_vocabulary_of_another_size_has_no_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ppldelta.run import lockstep

    label = demo.COMPARISONS[0].name.removesuffix(".gguf")
    whole = lockstep._is_comparable

    def is_comparable(comparison: object, *rest: object) -> bool:
        if comparison.label == label:
            comparison = replace(comparison, info=replace(comparison.model.info, n_vocab=5000))
        return whole(comparison, *rest)

    monkeypatch.setattr(lockstep, "_is_comparable", is_comparable)
    result = ppldelta.score(PROSE, cmp=demo.COMPARISONS[:2], kld=True, store=None, **QUIET)
    assert result.left_out == {"divergence": [label]}
    assert "5,000 entries" in result.warnings[-1]
    nulls = dict(result.tokens.group_by("model").agg(pl.col("kld").null_count()).iter_rows())
    assert nulls.pop(label) > 0 and set(nulls.values()) == {0}


def test_a_store_of_schema_4_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    plain = ppldelta.score(PROSE, cmp=demo.COMPARISONS[0], store=path, **QUIET)
    with sqlite3.connect(path) as connection:  # as schema 4 had it
        connection.executescript(
            "ALTER TABLE passes RENAME TO new; CREATE TABLE passes (id INTEGER PRIMARY KEY, model BLOB NOT NULL, "
            "rule TEXT NOT NULL, engine TEXT NOT NULL, used INTEGER NOT NULL, UNIQUE (model, rule, engine)); "
            "INSERT INTO passes SELECT id, model, rule, engine, used FROM new; DROP TABLE new; PRAGMA user_version = 4"
        )
    connection.close()
    shutil.copy(path, tmp_path / "copy.sqlite")
    plan = ppldelta.plan(PROSE, cmp=demo.COMPARISONS[0], store=path, **QUIET)
    assert all(each.n_stored == each.n_windows > 0 for each in plan.models)
    result = ppldelta.score(PROSE, cmp=demo.COMPARISONS[0], kld=True, store=path, **QUIET)
    assert result.tokens.select(PLAIN).equals(plain.tokens.select(PLAIN))


@pytest.mark.parametrize("room", ["enough", "for one context", "for one model"])
def test_contexts_stay_through_blocks_and_tasks_where_they_have_room(
    room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays takes part of the rows' budget, so that the whole never takes more."""
    from ppldelta.engine import loaded
    from ppldelta.engine.loaded import ContextSize, PinnedSource, Shelf
    from ppldelta.models.references import resolve

    made: list[str] = []

    class Counted(Scorer):
        def __init__(self, model: Model, **size: int) -> None:
            made.append(model.path.name)
            super().__init__(model, **size)

    monkeypatch.setattr(loaded, "Scorer", Counted)
    models = [PinnedSource.of(resolve(path).source, 0) for path in (demo.REFERENCE, *demo.COMPARISONS[:2])]
    monkeypatch.setattr(worker, "_shelf", Shelf(models[0].size_bytes if room == "for one model" else 2**30))
    size = ContextSize(n_ctx=128, n_ubatch=128, threads=1, n_outputs_max=128, n_seq_max=1)
    model = Model(demo.REFERENCE)
    windows = cut_windows(model.tokenize(PROSE[0].read_bytes()), rule="perplexity", n_ctx=128, bos=model.info.bos)[:4]
    batches = [Batch("a", (i,), (window,)) for i, window in enumerate(windows)]
    context_bytes = Scorer(model, n_ctx=128, n_ubatch=128, threads=1, n_outputs_max=128).size_bytes
    two_windows = 2 * batches[0].n_scored * model.info.n_vocab * 4
    budget = 2 * context_bytes - 1 + two_windows if room == "for one context" else 8 * context_bytes
    monkeypatch.setattr(kept, "BUDGET_BYTES", budget)
    n_blocks = len(list(kept.blocks(batches, model.info.n_vocab)))
    whole = [worker.score_pairs(0, models[0], models[1:], [size] * 3, 0, batches) for _ in range(2)]
    if room == "enough":
        assert [made.count(each.source.path.name) for each in models] == [1, 1, 1]
    else:
        assert [made.count(each.source.path.name) >= 2 * n_blocks for each in models] == [True] * 3
    assert all(len(pairs) == 4 for each in whole for pairs in each.pairs)
    assert list(kept.blocks(batches, 100, kept.BUDGET_BYTES - 4 * 100 * batches[0].n_scored)) == [
        range(i, i + 1) for i in range(4)
    ], "contexts take part of the budget"
