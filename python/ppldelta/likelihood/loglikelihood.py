"""Log-probabilities of given continuations of given contexts, under one model."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import line, meter
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.rpc import endpoints
from ppldelta.engine.session import Session
from ppldelta.family import Signature
from ppldelta.likelihood.answers import Evaluator
from ppldelta.likelihood.encoding import Encoded, Pair, encode
from ppldelta.models.references import ModelLike, resolve
from ppldelta.run import checks
from ppldelta.run.job import opened_store
from ppldelta.run.limits import DEFAULT_N_UBATCH
from ppldelta.run.memory import Memory
from ppldelta.run.request import hub_of_run
from ppldelta.run.settings import Settings
from ppldelta.store.hashes import Hashes
from ppldelta.surroundings import need_threads_of_polars, need_working_folder
from ppldelta.text.documents import Document
from ppldelta.wording import numbers
from ppldelta.wording.names import counted, shown_name

if TYPE_CHECKING:
    import polars as pl

_MOST_ROWS = 20
"""Continuations that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Loglikelihood:
    """What a model gives continuations; as a sequence, `(logp, is_greedy)` of each, in the order of the requests.

    Attributes:
        frame: a row for each request, with the columns of `schema.LIKELIHOODS`.
        model: the model's label.
        sha256: its content, 64 hexadecimal digits.
        signature: what determines the numbers beside model and requests.
        warnings: sentences for the reader.
    """

    frame: pl.DataFrame
    model: str
    sha256: str
    signature: Signature
    warnings: list[str]

    def __len__(self) -> int:
        return self.frame.height

    def __iter__(self) -> Iterator[tuple[float, bool]]:
        return zip(self.frame["logp"].to_list(), self.frame["is_greedy"].to_list(), strict=True)

    def __getitem__(self, i: int) -> tuple[float, bool]:
        return float(self.frame["logp"][i]), bool(self.frame["is_greedy"][i])

    def __repr__(self) -> str:
        return f"Loglikelihood of {counted(len(self), 'continuation')} under {self.model}\n{self.frame}"

    def _repr_html_(self) -> str:
        from ppldelta.reporting import notebook  # here: nothing else of this shows anything

        head = ("", "ln p, nats", "greedy", "tokens", "of context")
        rows = [
            (f"{i}", numbers.signed(logp, 3), "yes" if is_greedy else "no", f"{n:,}", f"{before:,}")
            for i, (logp, is_greedy, n, before) in enumerate(
                self.frame.select("logp", "is_greedy", "n_tokens", "n_context").head(_MOST_ROWS).iter_rows()
            )
        ]
        left = f"{len(self) - len(rows):,} more are not shown. " if len(self) > len(rows) else ""
        return notebook.fragment(
            notebook.sentence(f"{counted(len(self), 'continuation')} under `{shown_name(self.model)}`"),
            notebook.plain(head, rows),
            notebook.sentence(f"{left}`frame` has them token by token.", muted=True),
            *map(notebook.sentence, self.warnings),
        )


def loglikelihood(
    model: ModelLike,
    requests: Iterable[Pair],
    *,
    n_ctx: int | None = None,
    n_ubatch: int = DEFAULT_N_UBATCH,
    threads: int | None = None,
    n_gpu_layers: int | None = None,
    special: bool = False,
    prefix_token_id: int | None = None,
    store: str | os.PathLike[str] | bool | None = True,
    rpc: str | Iterable[str] | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Loglikelihood:
    """The log-probability that a model gives each continuation after its context.

    Contexts and continuations become tokens as in lm-evaluation-harness (`likelihood.encoding`), and what is too long
    loses the beginning of its context, as there. Requests whose contexts are the same, up to the last two tokens, share
    one pass over it. Their numbers are the same, to the last bit, in any company.

    Args:
        model: a GGUF file, a name on the Hugging Face hub, or a model with adapters, as `ref` of `score`.
        requests: pairs of context and continuation: two str, or two rows of token numbers, which are taken as they are.
            A context may be empty: then BOS stands in for it, or EOS where the vocabulary has no BOS.
        n_ctx: most tokens that are evaluated together; by default min(8192, the model's training context).
        n_ubatch: most tokens in a micro-batch.
        threads: CPU threads; by default the number of physical cores of the machine that evaluates.
        n_gpu_layers: layers to put on the GPU; by default all if there is a GPU.
        special: whether special tokens that a text spells out, such as `<|im_start|>`, count as such.
        prefix_token_id: the token that stands in for an empty context.
        store: where evaluations are kept, as for `score`; None for nowhere.
        rpc: servers whose devices are used, as for `score`.
        executor: where the model is evaluated, as for `score`.
        progress: whether stderr shows how far it is.

    Returns:
        The continuations' log-probabilities in nats, token by token and added up, and whether each token is the most
        probable one at its place.

    Raises:
        ModelError: the model cannot be found, downloaded, read, or evaluated, or has ended its worker process.
        StoreError: the store cannot be opened, read or written; what is in it stays.
        PpldeltaError: a request is no pair, is empty or no text; an argument is out of its range.
    """
    settings = Settings(windows="every", n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads, n_gpu_layers=n_gpu_layers)
    asked = list(requests)
    with opened(model, settings, store=store, rpc=rpc, executor=executor, progress=progress) as opened_model:
        return opened_model.result(opened_model.encode(asked, special=special, front=prefix_token_id))


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model that answers.

    Attributes:
        evaluator: evaluates it.
        signature: what determines its numbers.
        warnings: sentences for the reader.
    """

    evaluator: Evaluator
    signature: Signature
    warnings: list[str]

    def tokenize(self, texts: Sequence[bytes], special: bool) -> Sequence[NDArray[np.int32]]:
        """The tokens of texts, without BOS."""
        documents = [Document(f"text {i}", "", text, special=special) for i, text in enumerate(texts)]
        n_bytes = sum(map(len, texts))
        with meter("tokenizing", n_bytes, "byte", brief=True, visible=self.evaluator.progress) as shown:
            return self.evaluator.model.tokenize(documents, shown.update)

    def encode(self, pairs: Iterable[Pair], *, special: bool, front: int | None) -> list[Encoded]:
        """The tokens of pairs (`likelihood.encoding.encode`)."""
        tokenize = partial(self.tokenize, special=special)
        return encode(pairs, tokenize, self.evaluator.model.info, front)

    def result(self, encoded: list[Encoded]) -> Loglikelihood:
        """What the model gives them."""
        import polars as pl

        from ppldelta.schema import LIKELIHOODS

        answers = self.evaluator.answers(encoded)
        continuations = [each.tokens[each.n_context :] for each in encoded]
        n_dropped = [each.n_context - answer.n_context for each, answer in zip(encoded, answers, strict=True)]
        columns = {
            "logp": [float(each.logp.sum(dtype=float)) for each in answers],
            "is_greedy": [bool((a.best["top"] == b).all()) for a, b in zip(answers, continuations, strict=True)],
            "n_tokens": [len(each) for each in continuations],
            "n_context": [each.n_context for each in answers],
            "n_dropped": n_dropped,
            "tokens": [each.tolist() for each in continuations],
            "token_logp": [each.logp.tolist() for each in answers],
            "top_tokens": [each.best["top"].tolist() for each in answers],
            "top_logp": [each.best["logp_top"].tolist() for each in answers],
        }
        warnings = [*self.warnings, *self._told(self._cut_short(n_dropped) + self._beyond_training(encoded))]
        frame = pl.DataFrame(columns, schema=LIKELIHOODS)
        return Loglikelihood(frame, self.evaluator.model.label, self.evaluator.sha256, self.signature, warnings)

    def _cut_short(self, n_dropped: list[int]) -> list[str]:
        """A warning if contexts were longer than a window."""
        if not (n := sum(map(bool, n_dropped))):
            return []
        return [
            f"{counted(n, 'context')} lost the beginning, up to {counted(max(n_dropped), 'token')}: a window holds "
            f"{self.evaluator.settings.n_ctx} (`n_ctx`)."
        ]

    def _beyond_training(self, encoded: list[Encoded]) -> list[str]:
        """A warning if the model reads more tokens together than it was trained on; the last token is not read."""
        model = self.evaluator.model
        longest = max((len(each.tokens) - 1 for each in encoded), default=0)
        return checks.beyond_training(model.info, model.label, min(longest, self.evaluator.settings.n_ctx))

    def _told(self, warnings: list[str]) -> list[str]:
        """The same, which progress shows as well."""
        if self.evaluator.progress:
            for warning in warnings:
                line(warning)
        return warnings


@contextmanager
def opened(
    model: ModelLike,
    settings: Settings,
    *,
    store: str | os.PathLike[str] | bool | None,
    rpc: str | Iterable[str] | None,
    executor: Executor | None,
    progress: bool,
) -> Iterator[OpenModel]:
    """A model, ready to answer; the arguments and errors are those of `loglikelihood`."""
    need_threads_of_polars()
    need_working_folder()
    hub = hub_of_run(progress)
    labelled = resolve(model, on=hub)
    checks.refuse_kld([labelled])
    with Session(executor, endpoints(rpc)) as session, opened_store(store) as kept:
        importlib.import_module("polars")  # while the worker process starts

        with Hashes([labelled.source], kept) as hashes:
            memory = Memory(kept, hashes, progress)
            sha256 = partial(memory.sha256, labelled.source)
            remote = RemoteModel(session, labelled, n_gpu_layers=settings.n_gpu_layers, content=sha256)
            checks.refuse_unscorable(remote.info, remote.label)
            resolved = settings.resolve(remote.info, remote.build)
            warnings = hub.warnings + checks.no_device(settings, remote.build)
            model_open = OpenModel(
                Evaluator(remote, sha256(), resolved, kept, progress), resolved.signature(remote.build), warnings
            )
            model_open._told(warnings)
            yield model_open
