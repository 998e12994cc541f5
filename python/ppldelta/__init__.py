"""What did a change do to a GGUF language model? Gain and loss against a reference, token by token.

`score`, `Result` and what works on results are imported at first use: a worker process, which evaluates and shows
nothing, is smaller by all of polars and plotly, and `import ppldelta` takes no time.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from ppldelta import surroundings as surroundings  # before all others: it sees every fork from here on
from ppldelta._load import __version__  # before all others: they need the extension
from ppldelta.errors import (
    CorpusError,
    ModelError,
    PpldeltaError,
    RecordsError,
    ResultError,
    StoreError,
    StudyError,
    TokenizerMismatchError,
)

if TYPE_CHECKING:
    from ppldelta.likelihood.loglikelihood import Loglikelihood, loglikelihood
    from ppldelta.pictures import Look
    from ppldelta.records.kld import read_kld
    from ppldelta.records.signed import compare_kld, read_records
    from ppldelta.result import Result, load, report
    from ppldelta.run.dry_run import plan
    from ppldelta.run.looking import look
    from ppldelta.run.plans import Plan
    from ppldelta.run.scoring import score
    from ppldelta.saved.folder import verify
    from ppldelta.studies.study import study

__all__ = [
    "CorpusError",
    "Loglikelihood",
    "Look",
    "ModelError",
    "Plan",
    "PpldeltaError",
    "RecordsError",
    "Result",
    "ResultError",
    "StoreError",
    "StudyError",
    "TokenizerMismatchError",
    "__version__",
    "compare_kld",
    "load",
    "loglikelihood",
    "look",
    "plan",
    "read_kld",
    "read_records",
    "report",
    "score",
    "study",
    "verify",
]

_HOMES = {
    "Loglikelihood": "ppldelta.likelihood.loglikelihood",
    "Look": "ppldelta.pictures",
    "Plan": "ppldelta.run.plans",
    "Result": "ppldelta.result",
    "compare_kld": "ppldelta.records.signed",
    "load": "ppldelta.result",
    "loglikelihood": "ppldelta.likelihood.loglikelihood",
    "look": "ppldelta.run.looking",
    "plan": "ppldelta.run.dry_run",
    "read_kld": "ppldelta.records.kld",
    "read_records": "ppldelta.records.signed",
    "report": "ppldelta.result",
    "score": "ppldelta.run.scoring",
    "study": "ppldelta.studies.study",
    "verify": "ppldelta.saved.folder",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`", name=name, obj=sys.modules[__name__])
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
