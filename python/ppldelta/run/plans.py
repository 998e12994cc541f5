"""What a dry run says (`run.dry_run`): of each model, and of the whole run; as text, and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ppldelta.wording import numbers
from ppldelta.wording.names import columns, counted, printable, shown_name


@dataclass(frozen=True)
class Forecast:
    """What a run would do with one model.

    Attributes:
        label: the model's.
        path: its file.
        size_bytes: of its files.
        n_windows: windows of the job.
        n_stored: windows that the store has already.
        n_fed: tokens that the model would read.
        load_s: seconds that loading it took; None if nothing is to be evaluated.
        tokens_per_s: tokens that it read per second in the probe; None if nothing is to be evaluated
            or the probe failed.
    """

    label: str
    path: Path
    size_bytes: int
    n_windows: int
    n_stored: int
    n_fed: int
    load_s: float | None = None
    tokens_per_s: float | None = None

    @property
    def time_s(self) -> float:
        """Estimated seconds of loading and evaluating; 0 if there is nothing to do."""
        return (self.load_s or 0.0) + (self.n_fed / self.tokens_per_s if self.tokens_per_s else 0.0)


@dataclass(frozen=True, repr=False)
class Plan:
    """What a run would do; `print` shows it.

    Attributes:
        n_documents: documents that can be scored.
        n_tokens: tokens of these documents.
        bytes_per_token: bytes of these documents by their tokens.
        n_windows: windows of these documents, for the reference and all that share its tokens, as the next three.
        n_fed: tokens that a model reads, with nothing in the store; of equal windows it reads one.
        n_scored: tokens that are scored.
        longest: tokens in the longest window.
        n_ctx: most tokens that a window may have.
        windows: the rule.
        models: the reference first.
        store: the file where evaluations are kept; None if they are not.
        warnings: what the reader of the numbers should know, in sentences.
        left_out: what of the given a run would leave out: kind (`errors.LeftOut`) → names.
        n_fed_noise: tokens that the reference reads again for the noise floor; None if that is not asked for.
        time_noise_s: estimated seconds of that.
        align: the setting; with "bytes", models with other tokenizers have windows of their own.
    """

    n_documents: int
    n_tokens: int
    n_windows: int
    n_fed: int
    n_scored: int
    longest: int
    n_ctx: int
    windows: str
    models: list[Forecast]
    store: Path | None
    warnings: list[str]
    left_out: dict[str, list[str]]
    n_fed_noise: int | None = None
    time_noise_s: float = 0.0
    bytes_per_token: float | None = None
    align: str = "tokens"

    @property
    def time_s(self) -> float:
        """Estimated seconds of the whole run."""
        return sum(model.time_s for model in self.models) + self.time_noise_s

    def __repr__(self) -> str:
        tables = [columns(self._documents, n_left=2), columns([_HEAD, *self._rows], n_left=1)]
        return "\n".join([*tables[0], "", *tables[1], "", self._total])

    def _repr_html_(self) -> str:
        from ppldelta.reporting import notebook  # here: nothing else of the dry run shows anything

        return notebook.fragment(
            notebook.plain((), self._documents, n_left=2),
            notebook.plain(_HEAD, self._rows),
            *(notebook.sentence(text) for text in (self._total, *self.warnings)),
        )

    @property
    def _rows(self) -> list[tuple[str, ...]]:
        """A row for each model, under `_HEAD`."""
        rows: list[tuple[str, ...]] = []
        for at, model in enumerate(self.models):
            measured = model.tokens_per_s is not None
            rows.append(
                (
                    shown_name(model.label) + (" (reference)" if at == 0 else ""),
                    numbers.size(model.size_bytes),
                    f"{model.n_stored:,} of {counted(model.n_windows, 'window')}",
                    counted(model.n_fed, "token") if model.n_fed else "nothing",
                    numbers.duration(model.load_s),
                    f"{model.tokens_per_s:,.0f} tokens/s" if measured else numbers.NONE,
                    numbers.duration(model.time_s if measured else None),
                )
            )
        return rows

    @property
    def _documents(self) -> list[tuple[str, str]]:
        """What there is to read."""
        whose = "for each model" if self.align == "tokens" else "for the reference"
        documents = [
            ("documents", f"{self.n_documents:,}"),
            ("tokens", f"{self.n_tokens:,} ({numbers.bytes_per_token(self.bytes_per_token)})"),
            ("windows", f"{self.n_windows:,} of up to {counted(self.longest, 'token')} (n_ctx {self.n_ctx:,})"),
            (whose, f"{counted(self.n_fed, 'token')} fed, {self.n_scored:,} scored (`{self.windows}`)"),
            ("store", printable(self.store) if self.store else "none"),
        ]
        if self.n_fed_noise is not None:
            fed = f"{counted(self.n_fed_noise, 'token')} fed" if self.n_fed_noise else "in the store"
            documents.insert(-1, ("noise floor", f"{fed}, {numbers.duration(self.time_noise_s)}"))
        return documents

    @property
    def _total(self) -> str:
        """The sentence on all of it."""
        n_todo = sum(model.n_fed > 0 for model in self.models) + bool(self.n_fed_noise and not self.models[0].n_fed)
        if not n_todo:
            return "Everything is in the store: no model has to be loaded."
        return (
            f"{n_todo} of {counted(len(self.models), 'model')} to load, about {numbers.duration(self.time_s)} "
            "on this machine as busy as it is now."
        )


_HEAD = ("model", "size", "in the store", "to evaluate", "loads in", "speed", "time")
