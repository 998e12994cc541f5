"""The settings of a run, each written down once: its default, its range, its flag, and what it decides.

Validation, the command line's flags, the signature, the store's key, the worker's context and `docs/settings.md` follow
from the fields here; a test holds `score` and `plan` to them. `Settings` are what is asked for, `ResolvedSettings` what
that means for a reference and for the build that evaluates it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace

from ppldelta.engine.loaded import ContextSize
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.family import Signature
from ppldelta.run.limits import ALL_LAYERS, DEFAULT_N_UBATCH, KINDS, N_OUTPUTS_MAX_CPU, N_SEQ_MAX_GPU
from ppldelta.run.setting import Setting
from ppldelta.text.alignment import ALIGNMENTS
from ppldelta.text.windows import N_CTX_MIN, check_arguments, default_n_ctx
from ppldelta.wording.rules import DEFAULT_RULE, DIFFERENCE, RULES


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked for, the same for the reference and all its comparisons; `score` describes each.

    Raises:
        PpldeltaError: a value is of a wrong type or out of its range.
    """

    windows: str | None = field(
        default=None,  # a `.kld` file has a rule of its own
        metadata=Setting(
            decides="numbers",
            help=f"tokens that are scored: {DIFFERENCE} (default: {DEFAULT_RULE})",
            flags=("--windows",),
            choices=RULES,
        ).metadata,
    )
    n_ctx: int | None = field(
        default=None,
        metadata=Setting(
            decides="numbers",
            help="tokens evaluated together (default: the reference's training context, at most 8192)",
            flags=("-c", "--ctx-size"),
            metavar="N",
            least=N_CTX_MIN,
            words=("0",),
        ).metadata,
    )
    max_windows: int | None = field(
        default=None,
        metadata=Setting(
            decides="tokens",
            help="at most N windows of each document (default: all)",
            flags=("--chunks",),
            metavar="N",
            least=1,
            most=None,
            words=("-1",),
        ).metadata,
    )
    n_ubatch: int = field(
        default=DEFAULT_N_UBATCH,
        metadata=Setting(
            decides="numbers",
            help="most tokens computed at once; another number moves single tokens a little (default: %(default)s)",
            flags=("-ub", "--ubatch-size"),
            metavar="N",
            least=4,  # below that a window's last token may come alone, and then threads matter (cpp/cut.cpp)
            most=2**16,
        ).metadata,
    )
    threads: int | None = field(
        default=None,
        metadata=Setting(
            decides="speed",
            help="CPU threads (default: the physical cores of the machine that evaluates)",
            flags=("-t", "--threads"),
            metavar="N",
            least=1,
            most=512,  # GGML_MAX_N_THREADS
        ).metadata,
    )
    n_gpu_layers: int | None = field(
        default=None,
        metadata=Setting(
            decides="numbers",
            help="layers on the GPU (default: all, where there is one)",
            flags=("-ngl", "--n-gpu-layers"),
            metavar="N",
            least=ALL_LAYERS,
            words=("auto", "all"),
        ).metadata,
    )
    align: str = field(
        default=ALIGNMENTS[0],
        metadata=Setting(
            decides="rows",
            help="what is compared: the same tokens, or, with other tokenizers too, the same bytes of text (default: "
            "%(default)s)",
            flags=("--align",),
            choices=ALIGNMENTS,
        ).metadata,
    )
    kld: bool = field(
        default=False,
        metadata=Setting(
            decides="columns",
            help="evaluate reference and comparisons in lockstep, and give the KL divergence of each comparison, token "
            "by token",
            flags=("--kld",),
        ).metadata,
    )
    top_k: int = field(
        default=0,
        metadata=Setting(
            decides="columns",
            help="keep the K tokens that each model finds most probable at each place, and their log-probabilities; "
            "implies `kld` (default: %(default)s)",
            flags=("--top-k",),
            metavar="K",
            most=100,
        ).metadata,
    )
    noise_floor: bool = field(
        default=False,
        metadata=Setting(
            decides="columns",
            help="evaluate a sample of the documents again under the reference with other micro-batches, threads and "
            "the like, and say which comparisons are no further from it",
            flags=("--noise-floor",),
        ).metadata,
    )
    kind: str = field(
        default=KINDS[0],
        metadata=Setting(
            decides="words",
            help="what the comparisons are, which decides how the report tells of them: quants of the reference, or "
            "finetunes; by default their weights tell (default: %(default)s)",
            flags=("--kind",),
            choices=KINDS,
        ).metadata,
    )

    chat_template: bool | str = field(
        default=False,
        metadata=Setting(
            decides="tokens",
            help="make texts of chats, and of prompts with their completions, by the reference's own chat template",
            flags=("--chat-template",),
            file=True,
            quiet=True,
        ).metadata,
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            SETTINGS[each.name].refuse_type(each.name, getattr(self, each.name), each.default)
        _check_ranges(self)

    def resolve(self, info: ModelInfo, build: Build) -> ResolvedSettings:
        """What these settings mean for a reference and for the build of the process that evaluates.

        On the CPU each window is evaluated alone: several at once are no faster there. On a GPU short windows share a
        batch, but not those of a recurrent or hybrid model: each sequence would need a state of its own (tens of MB),
        and micro-batches that hold as many tokens of each sequence come out small.

        Raises:
            PpldeltaError: the reference's training context is too short to be a window.
        """
        n_ctx = self.n_ctx if self.n_ctx is not None else default_n_ctx(info.n_ctx_train)
        on_gpu = build.on_gpu(self.n_gpu_layers)
        n_seq_max = N_SEQ_MAX_GPU if on_gpu and not info.recurrent else 1
        by_default = ALL_LAYERS if build.gpu else 0
        return ResolvedSettings(
            windows=self.windows or DEFAULT_RULE,
            n_ctx=n_ctx,
            max_windows=self.max_windows,
            n_ubatch=self.n_ubatch,
            n_outputs_max=self.n_ubatch if on_gpu else min(self.n_ubatch, N_OUTPUTS_MAX_CPU),
            n_seq_max=min(n_seq_max, n_ctx),  # llama.cpp has an output row for each
            n_gpu_layers=by_default if self.n_gpu_layers is None else self.n_gpu_layers,
            threads=self.threads,
            align=self.align,
            kld=bool(self.kld or self.top_k),
            top_k=min(int(self.top_k), info.n_vocab),
            noise_floor=bool(self.noise_floor),
            kind=self.kind,
            chat_template=self.chat_template,
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """What the settings mean for a reference and a build; the signature names them in this order.

    `max_windows` is None for all windows, and `threads` for the physical cores of each machine that evaluates.

    Raises:
        PpldeltaError: a value is out of its range.
    """

    windows: str
    n_ctx: int
    max_windows: int | None
    n_ubatch: int
    n_outputs_max: int = field(
        metadata=Setting(
            decides="numbers",
            help=f"most scored tokens in a micro-batch of a window that is evaluated alone: on the CPU at most "
            f"{N_OUTPUTS_MAX_CPU}, with layers on a GPU as many as its tokens",
            least=1,
            most=2**16,
        ).metadata,
    )
    n_seq_max: int = field(
        metadata=Setting(
            decides="numbers",
            help="most windows that are evaluated together: on the CPU, and of a recurrent or hybrid model anywhere, "
            f"one; with layers on a GPU {N_SEQ_MAX_GPU}",
            least=1,
            most=256,  # LLAMA_MAX_SEQ
        ).metadata,
    )
    kv: str = field(
        init=False,
        default="f16",
        metadata=Setting(
            decides="numbers", help="type of the cache of keys and values, as cpp/scorer.cpp sets it", choices=("f16",)
        ).metadata,
    )
    flash_attn: str = field(
        init=False,
        default="auto",
        metadata=Setting(
            decides="numbers",
            help="flash attention, as cpp/scorer.cpp sets it: where llama.cpp can, on the CPU not for completions",
            choices=("auto",),
        ).metadata,
    )
    swa_full: str = field(
        init=False,
        default="false",
        metadata=Setting(
            decides="numbers",
            help="whether layers with a sliding window keep the whole context, as cpp/scorer.cpp sets it: as "
            "llama-perplexity, only what they look at",
            choices=("false",),
        ).metadata,
    )
    n_gpu_layers: int
    threads: int | None
    align: str
    kld: bool
    top_k: int
    noise_floor: bool
    kind: str
    chat_template: bool | str

    def __post_init__(self) -> None:
        _check_ranges(self)

    @property
    def context(self) -> ContextSize:
        """What a worker makes a model's context from.

        `n_ctx` is not the longest window's length: no window's numbers may depend on that.
        """
        return ContextSize(
            n_ctx=self.n_ctx,
            n_ubatch=self.n_ubatch,
            threads=self.threads,
            n_outputs_max=self.n_outputs_max,
            n_seq_max=self.n_seq_max,
        )

    def of_each_window(self) -> ResolvedSettings:
        """The same, but what only chooses windows has its default: the numbers of a window do not depend on it."""
        chosen = {name: getattr(Settings, name) for name, known in SETTINGS.items() if known.decides == "tokens"}
        return replace(self, **chosen)

    def signature(self, build: Build) -> Signature:
        """Everything that determines the numbers beside models and documents.

        Args:
            build: of the process that evaluates.
        """
        parts = {"ppldelta": build.version, "llama.cpp": build.llama_cpp_commit, "patches": build.patches_hash}
        for each in fields(self):
            value, known = getattr(self, each.name), SETTINGS[each.name]
            if known.decides in ("numbers", "tokens") and not (known.quiet and value == getattr(Settings, each.name)):
                parts[each.name] = "all" if value in (None, ALL_LAYERS) else known.said(value)
        parts["backend"] = "+".join(name.split(":")[0] for name in build.devices)
        parts["kernels"] = build.kernels
        return Signature.of(parts)


SETTINGS: dict[str, Setting] = {
    each.name: each.metadata["setting"]
    for kind in (Settings, ResolvedSettings)
    for each in fields(kind)
    if "setting" in each.metadata
}
"""What is known of each setting, by its name."""


def _check_ranges(settings: Settings | ResolvedSettings) -> None:
    """
    Raises:
        PpldeltaError: a value is out of its range.
    """
    n_ctx = N_CTX_MIN if settings.n_ctx is None else settings.n_ctx
    check_arguments(settings.windows or DEFAULT_RULE, n_ctx, settings.max_windows)
    for each in fields(settings):
        default = None if each.default is MISSING else each.default
        SETTINGS[each.name].refuse_value(each.name, getattr(settings, each.name), default)
