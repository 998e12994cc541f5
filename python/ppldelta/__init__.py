"""What did a change do to a GGUF language model? Gain and loss against a reference, token by token.

`score`, `Result` and what works on results are imported at first use: a worker process, which evaluates and shows
nothing, is smaller by all of polars and plotly, and `import ppldelta` takes no time.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING

from ppldelta import surroundings as surroundings  # before all others: it sees every fork from here on
from ppldelta._load import __version__  # before all others: they need the extension
from ppldelta.errors import CorpusError, ModelError, PpldeltaError, ResultError, StoreError, TokenizerMismatchError

if TYPE_CHECKING:
    from ppldelta.planning import Plan, plan
    from ppldelta.result import Result, load, report
    from ppldelta.saved import verify
    from ppldelta.scoring import score

__all__ = [
    "CorpusError",
    "ModelError",
    "Plan",
    "PpldeltaError",
    "Result",
    "ResultError",
    "StoreError",
    "TokenizerMismatchError",
    "__version__",
    "load",
    "plan",
    "report",
    "score",
    "verify",
]

_HOMES = {
    "Plan": "ppldelta.planning",
    "Result": "ppldelta.result",
    "load": "ppldelta.result",
    "plan": "ppldelta.planning",
    "report": "ppldelta.result",
    "score": "ppldelta.scoring",
    "verify": "ppldelta.saved",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`", name=name, obj=sys.modules[__name__])
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """This package, in which `report` is the function, also after something has imported the subpackage `report`."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
