"""Which windows are evaluated together; pure arithmetic on their lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from ppldelta.text.windows import Batch, Window


def make_batches(documents: Sequence[tuple[str, Sequence[Window]]], *, n_seq_max: int, n_ctx: int) -> list[Batch]:
    """Puts the windows of all documents into batches. The batches come in the order of their first windows.

    Windows with one prefix come together, and of the others those that `shared_batches` says.

    Args:
        documents: the name and the windows of each document.
        n_seq_max: most windows in one batch.
        n_ctx: most tokens in one batch.
    """
    names = [name for name, windows in documents for _ in windows]
    whole = [window for _, windows in documents for window in windows]
    groups = _behind_prefixes(whole, n_ctx)
    others: list[list[int]] = []  # of each document the windows without a prefix
    n = 0
    for _, windows in documents:
        others.append([n + i for i, window in enumerate(windows) if not window.prefix])
        n += len(windows)
    numbers = shared_batches([[whole[i].n_fed for i in each] for each in others], n_seq_max=n_seq_max, n_ctx=n_ctx)
    packed: dict[int, list[int]] = {}
    for i, number in zip((i for each in others for i in each), numbers, strict=True):
        packed.setdefault(number, []).append(i)
    groups += packed.values()
    groups.sort(key=min)
    return [Batch(names[at[0]], tuple(at), tuple(whole[i] for i in at)) for at in groups]


def reduced(
    batches: Iterable[Batch], wanted: Iterable[int], windows: Sequence[Window], document_of: Callable[[int], str]
) -> list[Batch]:
    """The batches, reduced to the wanted windows; a batch that has none of them is left out.

    Args:
        batches: of a model.
        wanted: indices among all windows of the model.
        windows: all of them.
        document_of: gives the name of a window's document.
    """
    some, left = set(wanted), []
    for batch in batches:
        if at := tuple(i for i in batch.at if i in some):
            left.append(Batch(document_of(at[0]), at, tuple(windows[i] for i in at)))
    return left


def _behind_prefixes(windows: Sequence[Window], n_ctx: int) -> list[list[int]]:
    """Which windows share a prefix and go in together, wherever they stand.

    A batch is evaluated in one task, and what a killed task has done is lost. So a batch is full when it has four times
    as many tokens behind the prefix as in it, and as many as a window: the next one reads the prefix again, which costs
    a quarter more at most.
    """
    groups: list[list[int]] = []
    open_groups: dict[tuple[int, bytes], tuple[list[int], int]] = {}
    for i, window in enumerate(windows):
        if window.prefix:
            key = window.prefix, hashlib.sha256(window.tokens[: window.prefix].tobytes()).digest()
            group, n_tokens = open_groups.get(key, ([], 0))
            if not group:
                groups.append(group)
            group.append(i)
            n_tokens += window.n_fed - window.prefix
            full = n_tokens >= max(4 * window.prefix, n_ctx)
            open_groups[key] = ([], 0) if full else (group, n_tokens)
    return groups


def shared_batches(lengths: Sequence[Sequence[int]], *, n_seq_max: int, n_ctx: int) -> list[int]:
    """Says which windows are evaluated together, from all of them at once, so that every model gets the same batches.

    Only documents of one window share a batch: one of several windows fills its micro-batches itself. Windows of
    similar length come together.

    Args:
        lengths: for each document, the tokens of its windows.
        n_seq_max: most windows in one batch.
        n_ctx: most tokens in one batch.

    Returns:
        For each window of each document the number of its batch; numbers begin with 0 and rise in the order of windows.
    """
    windows = [(length, len(each) == 1 and n_seq_max > 1) for each in lengths for length in each]
    groups = [[i] for i, (_, shares) in enumerate(windows) if not shares]
    n_tokens = n_ctx + 1  # as if the last group were full, so that the first window begins a new one
    for i in sorted((i for i, (_, shares) in enumerate(windows) if shares), key=lambda i: windows[i]):
        length, _ = windows[i]
        if n_tokens + length > n_ctx or len(groups[-1]) == n_seq_max:
            groups.append([])
            n_tokens = 0
        groups[-1].append(i)
        n_tokens += length
    batches = [0] * len(windows)
    for batch, group in enumerate(sorted(groups, key=min)):
        for i in group:
            batches[i] = batch
    return batches
