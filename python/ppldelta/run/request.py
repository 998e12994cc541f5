"""What a job is asked for: settings, and models whose files are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ppldelta.console.progress import meter
from ppldelta.models.download import Hub
from ppldelta.models.references import LabelledSource, ModelLike, resolve_all
from ppldelta.run import checks
from ppldelta.run.settings import Settings
from ppldelta.surroundings import need_threads_of_polars, need_working_folder


@dataclass(frozen=True)
class Request:
    """What is asked for, as far as it can be checked without loading a model.

    Attributes:
        settings: the same for all models.
        models: files that are there, the reference first.
        warnings: sentences for the reader.
    """

    settings: Settings
    models: list[LabelledSource]
    warnings: list[str]

    @classmethod
    def of(
        cls,
        ref: ModelLike,
        cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
        settings: Settings,
        progress: bool = False,
    ) -> Request:
        """Downloads what is on the hub. The arguments and the errors are those of `scoring.score`."""
        need_threads_of_polars()
        need_working_folder()
        on = hub_of_run(progress)
        models = resolve_all(ref, cmp, on)
        checks.refuse_kld(models)
        return cls(settings, models, on.warnings)


def hub_of_run(progress: bool) -> Hub:
    """The hub, whose downloads are shown as all progress is."""
    return Hub(lambda what, total, initial: meter(what, total, "byte", initial=initial, visible=progress))
