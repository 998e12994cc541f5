"""A look at a text: the matrix against full logits and `score`, states against llama.cpp's own, limits, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import tiny_models
from helpers.llama_ctypes import full_logits, hidden_states, log_softmax
from ppldelta import _core, cli, demo
from ppldelta.analysis import looks
from ppldelta.engine import looking
from ppldelta.engine.loaded import ContextSize
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.session import Session
from ppldelta.errors import CorpusError, ModelError, PpldeltaError, TokenizerMismatchError
from ppldelta.text.windows import Window, cut_windows
from ppldelta.wording.tokens import shown

TEXT = demo.CORPUS / "prose" / "the_waiting_room.txt"
REF, CMP = demo.REFERENCE, demo.COMPARISONS[2]
QUIET = {"progress": False, "threads": 2}


@pytest.fixture(scope="module")
def pair() -> ppldelta.Look:
    return ppldelta.look(REF, TEXT, CMP, n_tokens=150, columns=50, **QUIET)


def window_of(model: Model, n_ctx: int) -> Window:
    """The first window of the text."""
    return cut_windows(model.tokenize(TEXT.read_bytes()), rule="every", n_ctx=n_ctx, bos=model.info.bos)[0]


def test_target_entries_are_those_of_score_to_the_last_bit(pair: ppldelta.Look) -> None:
    """Also where the look ends within a micro-batch; 22 of these values would be others if it stopped there."""
    scored = ppldelta.score(TEXT, REF, CMP, windows="every", store=None, **QUIET).tokens[:150]
    assert len(pair.tokens) == 150 < len(ppldelta.score(TEXT, REF, CMP, windows="every", store=None, **QUIET).tokens)
    for side in ("ref", "cmp"):
        assert pair.tokens[f"logp_{side}"].to_list() == scored[f"logp_{side}"].to_list()
    assert pair.tokens.select("pos", "token").equals(scored.select("pos", "token"))
    whole = ppldelta.look(REF, TEXT, CMP, n_tokens=150, columns=range(2000), **QUIET)
    column = {token: i for i, token in enumerate(whole.columns["token"])}
    rows = [(i, column[token]) for i, token in enumerate(whole.tokens["token"]) if token in column]
    assert len(rows) > 50
    for side, matrix in zip(("ref", "cmp"), whole.logp, strict=True):
        assert [matrix[at] for at in rows] == [whole.tokens[f"logp_{side}"][i] for i, _ in rows]


def test_every_entry_is_that_of_full_logits(pair: ppldelta.Look) -> None:
    """An independent path: ctypes with the same micro-batches, all rows, log-softmax in float64."""
    window = window_of(Model(REF), n_ctx=1024)
    steps = [range(*part[1:]) for (part,) in _core.cut([(len(window.tokens), 0)], 256, 128)]
    for path, matrix in zip((REF, CMP), pair.logp, strict=True):
        expected = log_softmax(full_logits(path, window.tokens, 256, steps))[:150][:, pair.columns["token"].to_numpy()]
        assert matrix.dtype == np.float32 and matrix.shape == (150, 50)
        assert matrix == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_columns_that_matter(pair: ppldelta.Look) -> None:
    p = np.exp(pair.logp[0].astype(np.float64)).mean(axis=0)
    assert (np.diff(p) <= 0).all() and pair.columns["p_ref"].to_numpy() == pytest.approx(p)
    everything = np.concatenate(
        [ppldelta.look(REF, TEXT, n_tokens=150, columns=range(a, a + 1920), **QUIET).logp[0] for a in (0, 1920)], axis=1
    )
    of_all = np.exp(everything.astype(np.float64)).mean(axis=0)
    best = np.argsort(-of_all)[:20]
    assert set(best) <= set(pair.columns["token"])
    assert np.array_equal(pair.tokens["top_ref"].to_numpy(), everything.argmax(axis=1)), "of the whole vocabulary"
    assert pair.columns["piece"].to_list() == Model(REF).pieces(pair.columns["token"].to_numpy().astype(np.int32))


def test_columns_of_a_range_keep_its_order() -> None:
    found = ppldelta.look(REF, TEXT, columns=[7, 3, 300], n_tokens=20, **QUIET)
    assert found.columns["token"].to_list() == [7, 3, 300] and not found.chosen
    again = ppldelta.look(REF, TEXT, columns=range(301), n_tokens=20, **QUIET)
    assert np.array_equal(found.logp[0], again.logp[0][:, [7, 3, 300]])


def test_states_are_those_that_llama_cpp_hands_out(pair: ppldelta.Look) -> None:
    """`llama_get_embeddings` of another context, through ctypes."""
    window = window_of(Model(REF), n_ctx=1024)
    steps = [range(*part[1:]) for (part,) in _core.cut([(len(window.tokens), 0)], 256, 128)]
    for path, states in zip((REF, CMP), pair.states, strict=True):
        assert states is not None
        expected = hidden_states(path, window.tokens, 256, steps)[:150]
        assert states.shape == expected.shape
        assert states == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


def test_states_of_layers() -> None:
    model = Model(REF)
    window = window_of(model, n_ctx=512)
    found = looking.StateScorer(model, n_ctx=512, n_ubatch=64, threads=2).states(window, lambda n: None)
    n_layer, n_embd = model._core.n_layer, model._core.n_embd
    assert list(found) == [-1, *range(n_layer + 1)]
    assert {each.shape for each in found.values()} == {(len(window.tokens), n_embd)}
    # a state before the norm, normed to length sqrt(n_embd), differs from that after it by the norm's weights alone
    last = found[n_layer] / np.sqrt(np.mean(found[n_layer].astype(np.float64) ** 2, axis=1, keepdims=True) + 1e-5)
    weights = np.median(found[-1] / last, axis=0)
    assert found[-1] == pytest.approx(last * weights, rel=1e-2, abs=1e-2)
    # the embedding is the token's row of the matrix, whatever stands before it
    first = {}
    for token, state in zip(window.tokens.tolist(), found[0], strict=True):
        assert np.array_equal(first.setdefault(token, state), state)
    assert len(first) > 50


def test_departure(pair: ppldelta.Look) -> None:
    assert pair.distance is not None and pair.cosine is not None
    assert pair.distance.shape == pair.cosine.shape == (len(pair.depths) + 1, 150)
    ref, cmp = (each.astype(np.float64) for each in pair.states)
    assert pair.distance[-1] == pytest.approx(np.linalg.norm(cmp - ref, axis=1) / np.linalg.norm(ref, axis=1), rel=1e-5)
    cosine = (ref * cmp).sum(axis=1) / np.linalg.norm(ref, axis=1) / np.linalg.norm(cmp, axis=1)
    assert pair.cosine[-1] == pytest.approx(cosine, rel=1e-5)
    assert (pair.distance > 0).all()
    same = ppldelta.look(REF, TEXT, {"again": REF}, n_tokens=40, **QUIET)
    assert not same.distance.any() and not same.difference.any() and same.cosine == pytest.approx(1)
    assert pair.difference == pytest.approx(pair.logp[1] - pair.logp[0])


def test_numbers_of_score_do_not_depend_on_the_look(pair: ppldelta.Look) -> None:
    """A context that shows its states is another one than that of `score`, and gives the same log-probabilities."""
    model = Model(REF)
    window = window_of(model, n_ctx=512)
    plain = Scorer(model, n_ctx=512, n_ubatch=64, threads=2).score(window)
    assert np.array_equal(looking.StateScorer(model, n_ctx=512, n_ubatch=64, threads=2).score(window), plain)


def test_where_a_look_ends() -> None:
    size = ContextSize(n_ctx=1024, n_ubatch=256, threads=2, n_outputs_max=128, n_seq_max=1)
    assert [looking.steps_until(500, n, size) for n in (1, 128, 129, 400, 500)] == [128, 128, 256, 500, 500]
    assert looking.steps_until(50, 50, size) == looking.steps_until(50, 1, size) == 50
    assert looking.steps_until(129, 128, replace(size, n_outputs_max=64)) in (127, 129), (
        "a last token never comes alone"
    )


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_every_kind_of_model_shows_its_states(tmp_path: Path, architecture: str) -> None:
    model = tiny_models.write(tmp_path / f"{architecture}.gguf", architecture)
    found = ppldelta.look(model, "abcdefghij klmnop qrst", n_ctx=64, **QUIET)
    assert found.warnings == [] and found.states[0].shape == (21, tiny_models.N_EMBD)
    assert found.depths == tuple(range(tiny_models.N_LAYER + 1))
    assert found.norms[0].shape == (tiny_models.N_LAYER + 1, 21) and (found.norms[0] > 0).all()


def test_a_graph_that_shows_no_states_still_gives_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(self: Session, task: object, shards: object, arguments: object, **rest: object) -> object:
        yield range(1), task(0, *arguments(range(1)))

    def fails(self: looking.StateScorer, window: object, on_step: object) -> None:
        raise ModelError("the graph of this architecture does not name what its layers hand on")

    monkeypatch.setattr(Session, "stream", here)
    monkeypatch.setattr(looking.StateScorer, "states", fails)
    monkeypatch.setattr(RemoteModel, "tokenize", lambda self, documents: [
        Model(self.source.path).tokenize(documents[0].text)
    ])  # fmt: skip
    found = ppldelta.look(REF, TEXT, CMP, n_tokens=30, **QUIET)
    assert found.states == (None, None) and found.distance is None
    assert list(found.figures) == ["difference", "logp", "logp_cmp"]
    said = [each for each in found.warnings if "shows no hidden states: the graph of this architecture" in each]
    assert len(said) == 2


def test_another_shape_gives_no_departure(tmp_path: Path) -> None:
    models = [tiny_models.write(tmp_path / f"{name}.gguf", name) for name in ("llama", "mamba")]
    assert ppldelta.look(models[0], "some text here", models[1], n_ctx=64, **QUIET).distance is not None
    states = [{0: np.ones((4, 8), np.float32), -1: np.ones((4, 8), np.float32)}]
    states += [{0: np.ones((4, 6), np.float32), -1: np.ones((4, 6), np.float32)}]
    found = looking._departure(states, slice(4))
    assert isinstance(found, str) and "other shapes" in found


def test_refusals(tmp_path: Path) -> None:
    llama = tiny_models.write(tmp_path / "llama.gguf", "llama")
    with pytest.raises(TokenizerMismatchError, match="no rows and columns in common"):
        ppldelta.look(REF, TEXT, llama, **QUIET)
    with pytest.raises(CorpusError, match="the text is empty"):
        ppldelta.look(REF, "", **QUIET)
    with pytest.raises(CorpusError, match="too short to look at: it has 1 token"):
        ppldelta.look(llama, "a", **QUIET)
    with pytest.raises(PpldeltaError, match=r"1,024 tokens of the text times 2,000 columns.*at most 524,288 are shown"):
        ppldelta.look(llama, "word " * 2000, columns=range(2000), n_tokens=1024, n_ctx=2048, **QUIET)
    with pytest.raises(ModelError, match=r"the columns 250 … 259 are asked for.* 0 … 255"):
        ppldelta.look(llama, "some text", columns=range(250, 260), **QUIET)
    for columns in (0, True, "3", [1, 1], [-1], [], 1.5, [[1]]):
        with pytest.raises(PpldeltaError, match="`columns` must be"):
            ppldelta.look(llama, "some text", columns=columns, **QUIET)
    for n_tokens in (0, 1025, True, "3"):
        with pytest.raises(PpldeltaError, match="`n_tokens` must be a whole number from 1 to 1,024"):
            ppldelta.look(llama, "some text", n_tokens=n_tokens, **QUIET)
    with pytest.raises(PpldeltaError, match="`look` takes one model"):
        ppldelta.look(llama, "some text", [llama, llama], **QUIET)


def test_too_much_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking.kept, "BUDGET_BYTES", 10**6)
    with pytest.raises(ModelError, match=r"128 rows of 3,840 logits and the states of \d layers take"):
        looking._refuse_too_large(Model(REF), 128, 1)


def test_a_column_that_is_another_token_in_each_vocabulary() -> None:
    view = looking.View(None, 1, np.array([3, 4], np.int32))
    with pytest.raises(ModelError, match="token 4 is 'b' in one vocabulary and 'c' in the other"):
        looking._common(view.columns, [[b"a", b"b"], [b"a", b"c"]], view)
    view = looking.View(None, 1, 2)
    assert looking._common(np.array([3, 4], np.int32), [[b"a", b"b"], [b"a", b"c"]], view).tolist() == [3]


def test_a_long_text_is_cut_with_a_sentence(pair: ppldelta.Look) -> None:
    n = len(Model(REF).tokenize(TEXT.read_bytes()))
    n_scored = n - (Model(REF).info.bos is None or not Model(REF).info.add_bos)
    assert pair.warnings == [
        f"The text has {n_scored:,} tokens to predict; the first 150 are shown (`n_tokens`, `-n`: at most 1,024)."
    ]
    assert ppldelta.look(REF, "A short text.", **QUIET).warnings == []


def test_the_difference_is_blank_where_both_rule_a_token_out(pair: ppldelta.Look) -> None:
    blank = np.isnan(pair.shown_difference)
    assert np.array_equal(blank, np.maximum(*pair.logp) < np.log(looks.LEAST_SHOWN)) and 0 < blank.mean() < 1
    assert not np.isnan(pair.difference).any()


def test_spreads() -> None:
    spread = looks.by_depth(np.array([[1, 2, 3], [2, 3, np.nan], [9, 9, 9]], np.float32))
    assert spread.median == [2, 2.5, 9] and spread.largest_step == 2
    assert looks.reach(np.array([np.nan, -1, 1], np.float32)) == 1


def test_saved(pair: ppldelta.Look, tmp_path: Path) -> None:
    folder = pair.save(tmp_path / "look")
    assert sorted(path.name for path in folder.iterdir()) == [
        "columns.parquet",
        "look.html",
        "look.npz",
        "tokens.parquet",
    ]
    assert pl.read_parquet(folder / "tokens.parquet").equals(pair.tokens)
    with np.load(folder / "look.npz") as arrays:
        assert set(arrays) == {
            "logp_ref",
            "logp_cmp",
            "states_ref",
            "states_cmp",
            "norms_ref",
            "norms_cmp",
            "distance",
            "cosine",
        }
        assert all(np.array_equal(arrays[name], each) for name, each in pair.arrays.items())
    assert pair.html(tmp_path / "again.html").read_bytes() == (folder / "look.html").read_bytes()


def test_figures_hold_the_numbers(pair: ppldelta.Look) -> None:
    figures = pair.figures
    names = ["difference", "logp", "logp_cmp", "depth", "departure", "states", "states_difference", "norms"]
    assert list(figures) == names
    assert np.array_equal(figures["logp"].data[0].z, pair.logp[0].T)
    assert np.array_equal(figures["logp_cmp"].data[0].z, pair.logp[1].T)
    assert np.array_equal(figures["departure"].data[0].z, pair.distance)
    assert np.array_equal(figures["states"].data[0].z, pair.states[0].T[:64])
    marks = figures["logp"].data[1]
    names = [f"{shown(piece)} (token {token})" for token, piece in pair.columns.select("token", "piece").rows()]
    drawn = {(int(x.split(":")[0]), y) for x, y in zip(marks.x, marks.y, strict=True)}
    targets = [(pos, f"{shown(piece)} (token {token})") for pos, token, piece in
               pair.tokens.select("pos", "token", "piece").rows()]  # fmt: skip
    assert drawn == {each for each in targets if each[1] in names}
    single = ppldelta.look(REF, TEXT, n_tokens=20, **QUIET)
    assert list(single.figures) == ["logp", "states", "norms"]


def test_how_tokens_are_shown() -> None:
    assert [shown(piece) for piece in (b" the", b"\n\t", b"", b"\xe2\x82", "é".encode(), b"\x00")] == [
        "·the", "↵⇥", "(empty)", "\\xe2\\x82", "é", "\\x00"
    ]  # fmt: skip


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "look.html"
    assert cli.main(["look", str(REF), str(TEXT), "-o", str(page), "-n", "30", "-t", "2", "-q"]) == 0
    said = capsys.readouterr()
    assert f"page: {page}" in said.out and "on 30 tokens of `the_waiting_room.txt`, 64 columns" in said.out
    assert "warning: The text has" in said.err and page.stat().st_size > 4e6
    flags = ["--columns", "5:9", "--cmp", str(CMP), "-o", str(tmp_path / "folder"), "-q"]
    assert cli.main(["look", str(REF), "A text of several words.", *flags]) == 0
    assert "4 columns of the vocabulary" in capsys.readouterr().out
    with np.load(tmp_path / "folder" / "look.npz") as arrays:
        assert arrays["logp_cmp"].shape[1] == 4
    for text in ("no/such/file", "missing.txt"):
        assert cli.main(["look", str(REF), text, "-o", str(page)]) == 1
        assert f"`{text}` does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["look", str(REF), "text", "--columns", "x"])


def test_on_a_device(rpc: str, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    """Logits and states that are copied from a device: the numbers of `score` there, and nearly those of here."""
    here = ppldelta.look(REF, TEXT, n_tokens=150, **QUIET)
    monkeypatch.setenv("PPLDELTA_RPC", rpc)
    there = ppldelta.look(REF, TEXT, n_tokens=150, **QUIET)
    assert "RPC" in there.signature and "RPC" not in here.signature
    scored = ppldelta.score(TEXT, REF, CMP, windows="every", store=None, **QUIET).tokens[:150]
    assert there.tokens["logp_ref"].to_list() == scored["logp_ref"].to_list()
    assert there.states[0] == pytest.approx(here.states[0], abs=0.2)
    assert np.abs(there.states[0] - here.states[0]).mean() < 0.02
    assert there.norms[0] == pytest.approx(here.norms[0], rel=0.05)


def test_a_model_that_does_not_read_from_left_to_right_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(Model(REF).info, causal=False)
    monkeypatch.setattr(RemoteModel, "load", lambda self: info)
    with pytest.raises(ModelError, match="does not read from left to right"):
        ppldelta.look(REF, TEXT, **QUIET)
