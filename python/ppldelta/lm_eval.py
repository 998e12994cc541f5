"""lm-evaluation-harness on GGUF models: a model class that answers its requests for log-likelihoods.

The harness finds no third-party model by itself (0.4.13: its registry knows its own and what was imported). So
`python -m ppldelta.lm_eval run --model ppldelta --model_args path=m.gguf --tasks …` is its command line with this
module imported; in Python, `import ppldelta.lm_eval` before `lm_eval.simple_evaluate(model="ppldelta", …)` does that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

try:
    import lm_eval.models as _known  # noqa: F401  # the registry imports them only as long as it is empty
except ModuleNotFoundError as error:
    if __name__ == "__main__" and error.name == "lm_eval":
        sys.exit("ppldelta: error: lm-evaluation-harness is not installed\nhint: pip install 'ppldelta[lm-eval]'")
    raise
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ppldelta.errors import PpldeltaError
from ppldelta.likelihood.encoding import front_token
from ppldelta.likelihood.loglikelihood import OpenModel, opened
from ppldelta.run.limits import DEFAULT_N_UBATCH
from ppldelta.run.settings import Settings
from ppldelta.wording.names import quoted


class Instance(Protocol):
    """A request of the harness."""

    @property
    def args(self) -> tuple[str, ...]: ...


_HINT = (
    "`--model_args path=MODEL.gguf` names the model; beside `path` there are `n_ctx`, `n_ubatch`, `threads`, "
    "`n_gpu_layers`, `prefix_token_id` and `store`"
)


@register_model("ppldelta")
class PpldeltaLM(LM):
    """A GGUF model for lm-evaluation-harness.

    Texts become tokens as in the harness's own `hf` model, special tokens that they spell out included, and windows are
    those that it makes. Each evaluation opens the model anew; its worker process, which keeps it loaded, and the store
    make that cheap.

    Args:
        path: a GGUF file, a name on the hub, or either with adapters, as `ref` of `ppldelta.score`.
        n_ctx: most tokens that are evaluated together, the harness's `max_length`.
        n_ubatch: most tokens in a micro-batch.
        threads: CPU threads.
        n_gpu_layers: layers on the GPU.
        prefix_token_id: the token in front of a text that has no context; by default BOS, else EOS.
        store: the file that keeps what was evaluated; True for the user's, False for none.
        batch_size: of the harness; batches are cut by ppldelta.
        max_batch_size: likewise.
        device: likewise.

    Raises:
        PpldeltaError: `model_args` has no `path` or something else than the above, or a value is out of its range.
    """

    def __init__(
        self,
        path: str | None = None,
        n_ctx: int | None = None,
        n_ubatch: int = DEFAULT_N_UBATCH,
        threads: int | None = None,
        n_gpu_layers: int | None = None,
        prefix_token_id: int | None = None,
        store: str | bool = True,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **unknown: object,
    ) -> None:
        super().__init__()
        if unknown:
            raise PpldeltaError(f"`model_args` names {quoted(list(unknown))}, which ppldelta does not know", hint=_HINT)
        if path is None:
            raise PpldeltaError("`model_args` names no model", hint=_HINT)
        self._path = path
        self._settings = Settings(
            windows="every", n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads, n_gpu_layers=n_gpu_layers
        )
        self._front = prefix_token_id
        self._store = store
        self._info: dict[str, str] = {}

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each pair of context and continuation its log-probability in nats, and whether it is what greedy decoding
        would give."""
        pairs = [(request.args[0], request.args[1]) for request in requests]
        with self._opened(disable_tqdm) as model:
            encoded = model.encode(pairs, special=True, front=self._front)
            found = list(model.result(encoded))
        for pair, answer in zip(pairs, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text in nats: the sum over all its tokens, in the windows that the harness cuts.

        As in the harness's `hf` model, a text begins with BOS if the vocabulary adds one, and one more token stands in
        front of the first window, from which the text's first token is predicted: BOS, or EOS where there is none.
        """
        texts = [request.args[0] for request in requests]
        with self._opened(disable_tqdm) as model:
            info = model.evaluator.model.info
            front = front_token(info, self._front)
            if front is None:
                raise PpldeltaError("the vocabulary has neither BOS nor EOS", hint="name one: `prefix_token_id=…`")
            windows: list[tuple[list[int], list[int]]] = []
            n_of_each = []
            n_ctx = model.evaluator.settings.n_ctx
            for own in model.tokenize([text.encode() for text in texts], special=True):
                tokens = own.tolist()
                if info.add_bos and info.bos is not None and tokens[:1] != [info.bos]:
                    tokens = [info.bos, *tokens]
                mine = list(map(make_disjoint_window, get_rolling_token_windows(tokens, front, n_ctx, 1)))
                windows += mine
                n_of_each.append(len(mine))
            logp = [each for each, _ in model.result(model.encode(windows, special=True, front=front))]
        found, at = [], 0
        for text, n in zip(texts, n_of_each, strict=True):
            found.append(sum(logp[at : at + n]))
            at += n
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), found[-1])
        return found

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """
        Raises:
            PpldeltaError: always.
        """
        raise PpldeltaError(
            "ppldelta gives the log-probability of text, and generates none: tasks of `output_type: generate_until` "
            "cannot be run with it",
            hint="choose tasks of `multiple_choice`, `loglikelihood` or `loglikelihood_rolling`",
        )

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """
        Raises:
            PpldeltaError: always.
        """
        raise PpldeltaError(
            "chat templates are not applied here",
            hint="leave out `--apply_chat_template`, or write it into `doc_to_text`",
        )

    @property
    def tokenizer_name(self) -> str:
        """Under which the harness caches requests."""
        return self._path.replace("/", "__")

    def get_model_info(self) -> dict[str, str]:
        """What the harness saves with its results: the content's hash, and all that determines the numbers."""
        return self._info

    @contextmanager
    def _opened(self, quiet: bool) -> Iterator[OpenModel]:
        """The model, ready to answer; notes what it is."""
        with opened(
            self._path, self._settings, store=self._store, rpc=None, executor=None, progress=not quiet
        ) as model:
            self._info = {"model_sha256": model.evaluator.sha256, "signature": str(model.signature)}
            yield model


def main() -> None:
    """The harness's command line."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except PpldeltaError as error:
        raise SystemExit(f"ppldelta: {error}") from None


if __name__ == "__main__":
    # under its own name as well: `-m` runs this file as `__main__`, and the registry would get a second class
    sys.modules["ppldelta.lm_eval"] = sys.modules["__main__"]
    main()
