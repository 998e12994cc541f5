"""What a result says of its models beside their numbers: the facts of each model, the families, and the signature.

These are the contracts between the run, which makes them, the report, which shows them, and `run.json`, which keeps
them: `saved.run_file` reads exactly these fields. A field with a default is one that older versions did not write.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import ClassVar


@dataclass(frozen=True)
class Signature(Mapping[str, str]):
    """Everything that determines the numbers beside models and documents: versions and settings, by name and in order.

    Attributes:
        parts: names and values, which are texts.
        line: the whole signature as one line, if an older version saved the result: it kept nothing else. Then `parts`
            is empty, since the line is not read back.
    """

    parts: tuple[tuple[str, str], ...] = ()
    line: str | None = None

    @classmethod
    def of(cls, parts: Mapping[str, object]) -> Signature:
        """The signature of a mapping, in its order; values are kept as texts."""
        return cls(tuple((name, str(value)) for name, value in parts.items()))

    def __getitem__(self, name: str) -> str:
        return dict(self.parts)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __str__(self) -> str:
        """One line for people."""
        return self.line if self.line is not None else "|".join(f"{name}:{value}" for name, value in self.parts)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model. A field is None if that is not known.

    Attributes:
        label: its name in the result.
        path: of its file (of several, the first) on the machine that evaluated it.
        sha256: of its content.
        bits_per_weight: bits of tensor data per parameter.
        architecture: as llama.cpp calls it.
        name: as the file calls it.
        file_type: the kind of quantisation, as llama.cpp calls it.
        n_vocab: entries in the vocabulary.
        n_ctx_train: the context that it was trained on, in tokens.
        n_params: parameters.
        size_bytes: of its tensors.
        bos: token for the beginning of a text; None also if the vocabulary has none.
        eos: likewise for the end.
        add_bos: whether the vocabulary puts `bos` before every text.
        add_eos: whether it puts `eos` behind every text.
        recurrent: whether it keeps a state instead of a cache, or beside it.
        time_s: what its evaluation took in this run, without windows that were in the store.
        causal: whether it reads from left to right.
        kernels: what computed its numbers (`engine.native.Build.kernels`).
        hub: `OWNER/REPO:FILE.gguf` if it was named as a model on the Hugging Face hub.
        hub_commit: the commit of that repository.
        adapters: path and scale of each LoRA and each control vector that is applied to the file.
        kind: "quant" for the reference's weights in other types, "finetune" for other weights; None for a reference,
            and if it is not known.
        kind_reason: a sentence that says what that rests on.
        bytes_per_token: bytes of the documents' texts by the tokens that it reads of them.
    """

    GONE: ClassVar[frozenset[str]] = frozenset({"vocab_hash", "has_encoder"})
    """What older versions wrote into `run.json`."""

    label: str
    path: str | None
    sha256: str | None
    bits_per_weight: float | None
    architecture: str | None
    name: str | None
    file_type: str | None
    n_vocab: int | None
    n_ctx_train: int | None
    n_params: int | None
    size_bytes: int | None
    bos: int | None
    eos: int | None
    add_bos: bool | None
    add_eos: bool | None
    recurrent: bool | None
    time_s: float | None
    causal: bool | None = None
    kernels: tuple[str, ...] = ()
    hub: str | None = None
    hub_commit: str | None = None
    adapters: tuple[str, ...] = ()
    kind: str | None = None
    kind_reason: str | None = None
    bytes_per_token: float | None = None


@dataclass(frozen=True)
class Noise:
    """How far a reference is from itself on a sample of the documents if something changes that says nothing of it.

    Attributes:
        change: such as "n_ubatch 64".
        gain: of the reference so changed against itself, nats per token.
        loss: likewise.
        kld: mean KL divergence from it, nats per token; None if it was not asked for or cannot be had.
        delta_max: the largest |delta| of a token, nats.
        n_scored: tokens of the sample that were scored.
        n_bytes: bytes of their text; None in older results.
    """

    change: str
    gain: float
    loss: float
    kld: float | None
    delta_max: float
    n_scored: int
    n_bytes: int | None = None

    @property
    def bits_per_byte(self) -> tuple[float, float] | None:
        """Gain and loss in bits per byte; None if the bytes are not known. Those of spans of several tokens would be
        smaller, since within one gains and losses cancel."""
        if not self.n_bytes:
            return None
        scale = self.n_scored / self.n_bytes / math.log(2)
        return self.gain * scale, self.loss * scale


@dataclass(frozen=True)
class Family:
    """One reference and the comparisons that are judged against it.

    Attributes:
        name: tells it from the other families of the result; the column `family` of all frames.
        ref: the reference.
        cmp: the comparisons, in the order of the report.
        signature: what determines the numbers.
        system: what llama.cpp says of the machine.
        devices: that evaluated, each with its description.
        corpus: folder of the documents; None if they had none.
        n_fed: tokens that each model had to evaluate.
        noise: what the reference differs from itself by, a change each; empty if that was not measured.
        date: the day on which the run ended, in UTC, as 2026-11-28; None if an older version saved the result.
        align: "tokens", or "bytes" if rows are spans of text that models of several tokenizers have in common: then
            gain and loss are told in bits per byte.
        only_prompts: whether all documents have a prompt, so that the scored tokens are those of their completions.
    """

    name: str = field(metadata={"key": "family"})
    ref: ModelFacts
    cmp: tuple[ModelFacts, ...]
    signature: Signature
    system: str
    devices: tuple[str, ...]
    corpus: str | None = None
    n_fed: int | None = None
    noise: tuple[Noise, ...] = ()
    date: str | None = None
    align: str = "tokens"
    only_prompts: bool = False

    @property
    def rule(self) -> str | None:
        """The window rule that decided which tokens are scored; None if none did, or it is not known."""
        return None if self.only_prompts else self.signature.get("windows")

    @property
    def quants(self) -> list[str]:
        """Labels of those comparisons that are quants of the reference."""
        return [model.label for model in self.cmp if model.kind == "quant"]

    @property
    def models(self) -> list[str]:
        """Labels of the comparisons."""
        return [model.label for model in self.cmp]

    @property
    def noise_floor(self) -> Noise | None:
        """The largest of each value that any change gave, so that several changes may have set it; `change` is that of
        the largest gain + loss. None if no noise was measured."""
        if not self.noise:
            return None
        return Noise(
            change=max(self.noise, key=lambda each: each.gain + each.loss).change,
            gain=max(each.gain for each in self.noise),
            loss=max(each.loss for each in self.noise),
            kld=max((each.kld for each in self.noise if each.kld is not None), default=None),
            delta_max=max(each.delta_max for each in self.noise),
            n_scored=max(each.n_scored for each in self.noise),
            n_bytes=max((each.n_bytes for each in self.noise if each.n_bytes is not None), default=None),
        )

    def is_within_noise(self, gain: float | None, loss: float | None, kld: float | None = None) -> bool:
        """Whether a comparison cannot be told from the reference: none of its values is beyond the noise floor.

        Args:
            gain: the comparison's, nats per token, and with `align` "bytes" bits per byte; None or not finite if it is
                not known, which is never inside.
            loss: likewise.
            kld: its mean KL divergence, nats per token; None if it is not known, which decides nothing.
        """
        floor = self.noise_floor
        if floor is None or gain is None or loss is None:
            return False
        most = (floor.gain, floor.loss) if self.align == "tokens" else floor.bits_per_byte
        inside = most is not None and gain <= most[0] and loss <= most[1]
        return inside and (kld is None or floor.kld is None or kld <= floor.kld)


def today() -> str:
    """The day in UTC, as `Family.date` has it."""
    return datetime.now(timezone.utc).date().isoformat()
