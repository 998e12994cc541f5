"""A look at a short text: what one model sees there, or two (`ppldelta.look`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import meter
from ppldelta.engine import worker
from ppldelta.engine.loaded import PinnedSource
from ppldelta.engine.looking import Departure, Looked, States, View, steps_until
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.rpc import endpoints
from ppldelta.engine.session import Session
from ppldelta.errors import CorpusError, PpldeltaError, TokenizerMismatchError
from ppldelta.models.references import ModelLike, resolve_all, resolve_many
from ppldelta.run import checks
from ppldelta.run.limits import DEFAULT_N_UBATCH
from ppldelta.run.request import hub_of_run
from ppldelta.run.settings import Settings
from ppldelta.surroundings import need_threads_of_polars, need_working_folder
from ppldelta.text.documents import Document, load_documents
from ppldelta.text.windows import Window, cut_windows
from ppldelta.wording.names import counted, printable, shown_type

if TYPE_CHECKING:
    from ppldelta.pictures import Look

N_TOKENS = 128
"""Tokens of the text that are shown by default: as many as a reader can tell apart."""

N_COLUMNS = 64
"""Columns that are shown by default."""

MOST_TOKENS = 1024
MOST_ENTRIES = 2**19
"""Log-probabilities of each model that are returned at most: a page of 15 MB."""


def look(
    model: ModelLike,
    text: str | os.PathLike[str],
    cmp: ModelLike | None = None,
    *,
    columns: int | range | Sequence[int] = N_COLUMNS,
    n_tokens: int = N_TOKENS,
    n_ctx: int | None = None,
    n_ubatch: int = DEFAULT_N_UBATCH,
    threads: int | None = None,
    n_gpu_layers: int | None = None,
    progress: bool = True,
) -> Look:
    """Pictures of what one model sees in a text, or two: log-probabilities of tokens at each place, and hidden states.

    The log-probabilities are those of `score` with ``windows="every"`` and the same settings, to the last bit. Models
    run in the worker process on this machine; the store is neither asked nor written.

    Args:
        model: the model, or with `cmp` the reference; as for `score`.
        text: the text itself as a str, or the path of its file (`os.PathLike`).
        cmp: another model, which must split the text into the same tokens.
        columns: which tokens of the vocabulary are shown. A number: so many of those that matter, which are the tokens
            that came next and each place's most probable ones, by their mean probability in the reference. Or their
            ids, such as `range(2000)` for a corner of the matrix.
        n_tokens: at most so many tokens of the text are shown, from its beginning: at most 1024, and times the columns
            at most 524,288.
        n_ctx: as for `score`. What does not fit one window is not looked at.
        n_ubatch: as for `score`.
        threads: as for `score`.
        n_gpu_layers: as for `score`.
        progress: show how far it is on stderr.

    Returns:
        A `Look`: arrays, frames, `.figures`, `.html(path)`, `.save(folder)`.

    Raises:
        CorpusError: the text is empty, no text, or too short.
        ModelError: a model cannot be found, read or evaluated, does not read from left to right, or memory is short.
        TokenizerMismatchError: the models split the text into other tokens.
        PpldeltaError: an argument is out of its range.
    """
    settings = Settings(windows="every", n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads, n_gpu_layers=n_gpu_layers)
    wanted = _columns(columns)
    if isinstance(n_tokens, bool) or not isinstance(n_tokens, (int, np.integer)) or not 1 <= n_tokens <= MOST_TOKENS:
        raise PpldeltaError(f"`n_tokens` must be a whole number from 1 to {MOST_TOKENS:,}, got {shown_type(n_tokens)}")
    need_threads_of_polars()
    need_working_folder()
    document = _document(text)
    on = hub_of_run(progress)
    sources = resolve_many(model, on=on) if cmp is None else resolve_all(model, cmp, on)
    if len(sources) != 1 + (cmp is not None):
        raise PpldeltaError("`look` takes one model, and one to compare with it", hint="name one as `cmp`")
    checks.refuse_kld([sources[0], *sources])
    with Session(None, endpoints(None)) as session:
        models = [RemoteModel(session, each, n_gpu_layers=n_gpu_layers) for each in sources]
        for each in models:
            checks.refuse_unscorable(each.load(), each.label)
        reference = models[0]
        resolved = settings.resolve(reference.info, reference.build)
        window, n_all = _window(document, models, resolved.n_ctx)
        n_places = min(n_tokens, len(window.targets))
        _refuse_too_many(n_places, wanted)
        view = View(_until(window, steps_until(window.n_fed, n_places, resolved.context)), n_places, wanted)
        pinned = [PinnedSource.of(each.source, n_gpu_layers) for each in models]
        label = models[-1].label
        with meter("looking", 2 * view.window.n_fed * len(models), "token", brief=True, visible=progress) as shown:
            ((_, found),) = session.stream(
                worker.look,
                iter([range(1)]),
                lambda _: (pinned, resolved.context, view),
                label=label,
                doing="looking with",
                names=[document.name],
                on_tokens=shown.update,
            )
        warnings = [*on.warnings, *checks.no_device(settings, reference.build), *_said(found, models)]
        warnings += checks.beyond_training(reference.info, reference.label, view.window.n_fed)
        if n_places < n_all:
            warnings.append(
                f"The text has {counted(n_all, 'token')} to predict; the first {n_places:,} are shown "
                f"(`n_tokens`, `-n`: at most {MOST_TOKENS:,})."
            )
        for each, logp in zip(models, found.target_logp, strict=True):
            checks.refuse_not_finite(logp, each.label, document.name)
        signature = str(resolved.signature(reference.build))
    return _as_look(found, view, models, document, warnings, signature)


def _columns(given: int | range | Sequence[int]) -> int | NDArray[np.int32]:
    """
    Raises:
        PpldeltaError: it is neither a number of columns nor their ids.
    """
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and given >= 1:
        return int(given)
    try:
        ids = np.asarray(given)
    except ValueError:
        ids = np.empty(0)
    whole = not isinstance(given, (str, bytes, int)) and ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer)
    if (
        not whole
        or not len(ids)
        or ids.min() < 0
        or ids.max() > np.iinfo(np.int32).max
        or len(np.unique(ids)) < len(ids)
    ):
        raise PpldeltaError(
            f"`columns` must be a number from 1 on, or ids of tokens, each once, got {shown_type(given)}",
            hint="such as 64 for those that matter most, or `range(2000)` for a corner of the vocabulary",
        )
    return ids.astype(np.int32)


def _refuse_too_many(n_places: int, columns: int | NDArray[np.int32]) -> None:
    n_columns = columns if isinstance(columns, int) else len(columns)
    if n_places * n_columns > MOST_ENTRIES:
        raise PpldeltaError(
            f"{counted(n_places, 'token')} of the text times {counted(n_columns, 'column')} of the vocabulary are "
            f"{n_places * n_columns:,} log-probabilities, and at most {MOST_ENTRIES:,} are shown",
            hint=f"ask for at most {MOST_ENTRIES // n_places:,} columns (`columns`, `--columns`), "
            "or for fewer tokens (`n_tokens`, `-n`)",
        )


def _document(text: str | os.PathLike[str]) -> Document:
    """
    Raises:
        CorpusError: there is no text, or it is empty.
    """
    if not isinstance(text, (str, os.PathLike)):
        raise CorpusError(f"`text` must be a str or a path, got {shown_type(text)}")
    if isinstance(text, str) and not text:
        raise CorpusError(
            "there is nothing to look at: the text is empty", hint="give a text of a few words, or a file"
        )
    documents, _ = load_documents({"text": text} if isinstance(text, str) else text)
    if len(documents) != 1:
        raise CorpusError(f"`look` takes one text, got {len(documents)}", hint="name a file")
    return documents[0]


def _window(document: Document, models: Sequence[RemoteModel], n_ctx: int) -> tuple[Window, int]:
    """The text's first window, in which every token is scored, and how many tokens of the text can be scored in all.

    Raises:
        CorpusError: the text is too short.
        TokenizerMismatchError: the models split it into other tokens.
    """
    tokens, *others = (each.tokenize([document])[0] for each in models)
    for other in others:
        if not np.array_equal(tokens, other):
            raise TokenizerMismatchError(
                f"`{printable(models[1].label)}` splits the text into {counted(len(other), 'token')}, others than the "
                f"{counted(len(tokens), 'token')} of `{printable(models[0].label)}`: their matrices have no rows and "
                "columns in common",
                hint="look at each of the two on its own, or compare it with a model of its own family",
            )
    info = models[0].info
    windows = cut_windows(tokens, rule="every", n_ctx=n_ctx, bos=info.bos if info.add_bos else None, max_windows=1)
    if not windows:
        raise CorpusError(
            f"the text is too short to look at: it has {counted(len(tokens), 'token')}",
            hint="give a text of a few words; nothing precedes its first token, which cannot be predicted",
        )
    return windows[0], len(tokens) - (not info.add_bos or info.bos is None)


def _until(window: Window, n_fed: int) -> Window:
    """The beginning of a window all of whose rows count."""
    return replace(window, tokens=window.tokens[:n_fed], targets=window.targets[:n_fed], pos=window.pos[:n_fed])


def _said(found: Looked, models: Sequence[RemoteModel]) -> list[str]:
    """Sentences about what is missing."""
    missing = [
        f"`{printable(model.label)}` shows no hidden states: {each}."
        for model, each in zip(models, found.states, strict=True)
        if isinstance(each, str)
    ]
    if not missing and isinstance(found.departure, str):
        missing.append(f"How far the hidden states are apart cannot be said: {found.departure}.")
    return missing


def _as_look(
    found: Looked,
    view: View,
    models: Sequence[RemoteModel],
    document: Document,
    warnings: list[str],
    signature: str,
) -> Look:
    from ppldelta.analysis import looks  # here: it imports polars
    from ppldelta.pictures import Look

    columns, pieces, logp = found.columns, found.pieces, found.logp
    if isinstance(view.columns, int):
        order = looks.columns_that_matter(logp[0], view.columns)
        columns, pieces = columns[order], [pieces[i] for i in order]
        logp = [np.ascontiguousarray(each[:, order]) for each in logp]
    n = view.n_places
    states = [each if isinstance(each, States) else None for each in found.states]
    departure = found.departure if isinstance(found.departure, Departure) else None
    return Look(
        models=tuple(each.label for each in models),
        name=document.name,
        before=found.before,
        tokens=looks.tokens_frame(
            view.window.targets[:n], found.target_pieces, view.window.pos[:n], found.target_logp, found.top
        ),
        columns=looks.columns_frame(columns, pieces, logp),
        logp=tuple(logp),
        states=tuple(each.last if each else None for each in states),
        norms=tuple(each.norms if each else None for each in states),
        depths=states[0].depths if states[0] else (),
        distance=departure.distance if departure else None,
        cosine=departure.cosine if departure else None,
        chosen=isinstance(view.columns, int),
        warnings=warnings,
        signature=signature,
    )
