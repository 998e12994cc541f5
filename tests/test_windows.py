"""Windows against independent readings of the two tools whose rules they follow."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ppldelta.errors import PpldeltaError
from ppldelta.text.windows import Window, cut_windows, default_n_ctx

BOS = 1
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 100]
N_CTX = [4, 5, 6, 7, 8, 9, 16, 17, 33, 64]
CASES = list(product(N_CTX, [None, BOS]))


def text_of(length: int) -> np.ndarray:
    """Tokens that are all different and none of them BOS."""
    return np.arange(1000, 1000 + length, dtype=np.int32)


def scored(windows: list[Window]) -> list[tuple[tuple[int, ...], int, int]]:
    """What the model sees before each scored token, the token, and its position in the document."""
    return [
        (tuple(window.tokens[: window.first_output + i + 1].tolist()), int(target), int(pos))
        for window in windows
        for i, (target, pos) in enumerate(zip(window.targets, window.pos, strict=True))
    ]


def llama_perplexity(own: list[int], n_ctx: int, bos: int | None) -> list[tuple[tuple[int, ...], int, int]]:
    """`perplexity()` and `process_logits()` of llama.cpp 0c1e57098, tools/perplexity/perplexity.cpp lines 442-640.

    Line by line, with names as there. Two things differ, as `text.windows` says: no check for `2 * n_ctx` tokens, and a
    text shorter than `n_ctx` runs with its own length as `n_ctx`, which is what `-c` with that length does upstream.
    """
    tokens = ([bos] if bos is not None else []) + own
    n_ctx = min(n_ctx, len(tokens))
    n_chunk = len(tokens) // n_ctx if n_ctx else 0
    first = n_ctx // 2
    out = []
    for i in range(n_chunk):
        start = i * n_ctx
        token_org = tokens[start]
        if bos is not None:
            tokens[start] = bos
        batch = [tokens[start + k] for k in range(n_ctx)]
        tokens[start] = token_org
        tokens_data = tokens[start + first :]  # pointer arithmetic in the original
        for k in range(n_ctx - 1 - first):  # n_token of process_logits
            row = first + k  # logits begin at row `first`
            position = start + first + k + 1 - (0 if bos is None else 1)
            out.append((tuple(batch[: row + 1]), tokens_data[k + 1], position))
    return out


def rolling(own: list[int], n_ctx: int, bos: int | None) -> list[tuple[tuple[int, ...], int]]:
    """lm-evaluation-harness's rolling windows with `context_len = n_ctx // 2`, from the description in its docstring.

    The first window predicts `max_seq_len` tokens after the prefix; each further one predicts up to
    `max_seq_len - context_len + 1` tokens and feeds the `max_seq_len` tokens that end before the last predicted one.
    """
    prefix, tokens = (bos, own) if bos is not None else (own[0] if own else None, own[1:])
    out = [((prefix, *tokens[:i]), tokens[i]) for i in range(min(n_ctx, len(tokens)))]
    done = len(out)
    while done < len(tokens):
        end = min(len(tokens), done + n_ctx - n_ctx // 2 + 1)
        begin = end - 1 - n_ctx
        out += [(tuple(tokens[begin:i]), tokens[i]) for i in range(done, end)]
        done = end
    return out


@pytest.mark.parametrize("rule", ["perplexity", "every"])
@pytest.mark.parametrize(("n_ctx", "bos"), CASES)
def test_windows_keep_their_promises(n_ctx: int, bos: int | None, rule: str) -> None:
    for own in map(text_of, LENGTHS):
        for window in cut_windows(own, rule=rule, n_ctx=n_ctx, bos=bos):
            assert (window.tokens.dtype, window.targets.dtype, window.pos.dtype) == (np.int32, np.int32, np.uint32)
            assert 1 <= len(window.tokens) <= n_ctx
            assert len(window.targets) == len(window.pos) == len(window.tokens) - window.first_output >= 1
            assert np.array_equal(own[window.pos], window.targets)
            # Every row but the last one scores the token that is fed next.
            assert np.array_equal(window.tokens[window.first_output + 1 :], window.targets[:-1])


@pytest.mark.parametrize(("n_ctx", "bos"), CASES)
def test_perplexity_is_the_rule_of_llama_perplexity(n_ctx: int, bos: int | None) -> None:
    for own in map(text_of, LENGTHS):
        windows = cut_windows(own, rule="perplexity", n_ctx=n_ctx, bos=bos)
        assert scored(windows) == llama_perplexity(own.tolist(), n_ctx, bos)


def test_perplexity_by_hand() -> None:
    # Stream: BOS a b c d e f g h i; windows [BOS a b c] and [d e f g] with BOS in place of d; h and i are dropped.
    # first = 2, so of each window only its last token is scored, from the third one.
    windows = cut_windows(text_of(9), rule="perplexity", n_ctx=4, bos=BOS)
    assert scored(windows) == [((BOS, 1000, 1001), 1002, 2), ((BOS, 1004, 1005), 1006, 6)]


@pytest.mark.parametrize(("bos", "least"), [(None, 3), (BOS, 2)])
def test_perplexity_needs_a_stream_of_three_tokens(bos: int | None, least: int) -> None:
    assert cut_windows(text_of(least - 1), rule="perplexity", n_ctx=512, bos=bos) == []
    (window,) = cut_windows(text_of(least), rule="perplexity", n_ctx=512, bos=bos)
    assert window.targets.tolist() == [1000 + least - 1]


@pytest.mark.parametrize(("n_ctx", "bos"), CASES)
def test_every_token_is_scored_once_with_half_a_window_of_context(n_ctx: int, bos: int | None) -> None:
    first = 0 if bos is not None else 1  # nothing precedes the first token where there is no BOS
    for own in map(text_of, LENGTHS):
        seen = scored(cut_windows(own, rule="every", n_ctx=n_ctx, bos=bos))
        assert [pos for _, _, pos in seen] == list(range(first, len(own)))
        for context, _, pos in seen:
            available = pos + (bos is not None)
            assert len(context) >= min(available, n_ctx // 2)
            # The context is the text just before the target, and BOS only where the text begins.
            whole = ([] if bos is None else [bos]) + own.tolist()
            assert list(context) == whole[available - len(context) : available]


@pytest.mark.parametrize(("n_ctx", "bos"), CASES)
def test_every_is_the_rule_of_lm_evaluation_harness(n_ctx: int, bos: int | None) -> None:
    for own in map(text_of, LENGTHS):
        seen = scored(cut_windows(own, rule="every", n_ctx=n_ctx, bos=bos))
        assert [(context, token) for context, token, _ in seen] == rolling(own.tolist(), n_ctx, bos)


def test_every_by_hand() -> None:
    # The example in get_rolling_token_windows of EleutherAI/lm-evaluation-harness, lm_eval/utils.py, at
    # max_seq_len 4 and context_len 2: P 0 1 2 -> 0 1 2 3, then 2 3 4 5 -> 4 5 6, then 4 5 6 7 -> 7 8 (the remainder
    # reaches back as far as it can).
    windows = cut_windows(np.arange(9), rule="every", n_ctx=4, bos=99)
    assert [window.tokens.tolist() for window in windows] == [[99, 0, 1, 2], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert [window.targets.tolist() for window in windows] == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]
    assert [window.first_output for window in windows] == [0, 1, 2]


@pytest.mark.parametrize("rule", ["perplexity", "every"])
def test_max_windows_keeps_the_first_ones(rule: str) -> None:
    own = text_of(100)
    every = cut_windows(own, rule=rule, n_ctx=16, bos=BOS)
    for wanted in (1, 3, len(every), len(every) + 5):
        some = cut_windows(own, rule=rule, n_ctx=16, bos=BOS, max_windows=wanted)
        assert scored(some) == scored(every[:wanted])


@pytest.mark.parametrize("rule", ["perplexity", "every"])
def test_the_callers_tokens_stay_as_they_are(rule: str) -> None:
    own = text_of(40)
    for window in cut_windows(own, rule=rule, n_ctx=8, bos=BOS):
        window.tokens[:] = 0
        window.targets[:] = 0
    assert np.array_equal(own, text_of(40))


def test_tokens_may_be_a_list_or_another_integer_type() -> None:
    expected = scored(cut_windows(text_of(20), rule="every", n_ctx=8, bos=None))
    for own in (text_of(20).tolist(), text_of(20).astype(np.int64)):
        assert scored(cut_windows(own, rule="every", n_ctx=8, bos=None)) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rule": "strided"}, "one of `every`, `perplexity`, got `strided`"),
        ({"n_ctx": 3}, "`n_ctx` must be at least 4, got 3"),
        ({"max_windows": 0}, "`max_windows` must be at least 1, got 0"),
        ({"tokens": np.zeros((2, 2), np.int32)}, r"got int32 of shape \(2, 2\)"),
        ({"tokens": np.array([1.0, 2.0])}, r"got float64 of shape \(2,\)"),
    ],
)
def test_wrong_use_is_named(changed: dict, message: str) -> None:
    arguments = {"tokens": text_of(10), "rule": "perplexity", "n_ctx": 8, "bos": None, **changed}
    with pytest.raises(PpldeltaError, match=message):
        cut_windows(**arguments)


def test_default_n_ctx() -> None:
    assert default_n_ctx(2048) == 2048
    assert default_n_ctx(131_072) == 8192
