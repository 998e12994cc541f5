"""The documents as a model reads them: windows by their index, and batches of some of them."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.run.batches import make_batches
from ppldelta.run.tokenization import Tokenization
from ppldelta.run.tokenized import TokenizedDocument, TokenizedDocuments
from ppldelta.text.documents import Document
from ppldelta.text.windows import Window, cut_windows

LENGTHS = [5, 250, 6, 7, 120, 8]


@pytest.fixture(params=[1, 3])
def tokenization(request: pytest.FixtureRequest) -> Tokenization:
    documents = []
    for i, n in enumerate(LENGTHS):
        tokens = np.arange(n, dtype=np.int32) + 1000 * i
        windows = cut_windows(tokens, rule="every", n_ctx=100, bos=None)
        documents.append(TokenizedDocument(Document(f"{i}", "", b"x"), tokens, windows))
    read = TokenizedDocuments.of(documents)
    batches = make_batches(read.windows, n_seq_max=request.param, n_ctx=100)
    return Tokenization(read, batches, np.empty(0, np.int32), [])


def test_each_window_is_in_one_batch_and_of_one_document(tokenization: Tokenization) -> None:
    windows = tokenization.windows
    assert sorted(i for batch in tokenization.batches for i in batch.at) == list(range(len(windows)))
    for batch in tokenization.batches:
        assert [targets(windows[i]) for i in batch.at] == list(map(targets, batch.windows))
        assert batch.document == tokenization.document_of(batch.at[0]).name
    for i, window in enumerate(windows):
        assert tokenization.document_of(i).name == f"{window.targets[0] // 1000}"
    assert tokenization.n_tokens == sum(LENGTHS)
    assert tokenization.n_scored == sum(LENGTHS) - len(LENGTHS), "all but the first of each"
    assert tokenization.longest == 100


def test_batches_of_some_windows_hold_no_others(tokenization: Tokenization) -> None:
    windows = tokenization.windows
    rng = np.random.default_rng(0)
    for n in range(len(windows) + 1):
        wanted = sorted(rng.choice(len(windows), n, replace=False).tolist())
        some = tokenization.batches_of(wanted)
        assert sorted(i for batch in some for i in batch.at) == wanted
        for batch in some:
            assert [targets(windows[i]) for i in batch.at] == list(map(targets, batch.windows))
            assert batch.document == tokenization.document_of(batch.at[0]).name
        together = [set(batch.at) for batch in tokenization.batches]
        assert all(any(set(batch.at) <= whole for whole in together) for batch in some)


def targets(window: Window) -> list[int]:
    """What tells these windows from one another."""
    return window.targets.tolist()
