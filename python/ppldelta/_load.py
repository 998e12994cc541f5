"""Loads the native extension, which every other module then imports as `ppldelta._core`.

A thread of llama.cpp that waits for the others spins for milliseconds before it sleeps (GNU OpenMP's default). Where
something else runs on the machine, that made runs many times slower; a short spin costs nothing where nothing does.
OpenMP reads the setting once, when it is loaded with the extension; the environment is left as it was.
"""

from __future__ import annotations

import os
from pathlib import Path

_SPIN = "GOMP_SPINCOUNT"
_is_set = _SPIN in os.environ
os.environ.setdefault(_SPIN, "1000")
try:
    from ppldelta import _core
    from ppldelta._core import __version__ as __version__
except ImportError as error:  # a source folder on the path, or a library that the loader cannot find
    raise ImportError(
        f"ppldelta's native extension cannot be loaded ({error}).\n"
        "hint: install the package with `pip install .` and run Python outside of its source folder"
    ) from error
finally:
    if not _is_set:
        del os.environ[_SPIN]

# where a build for many processors has the kernels for each kind
_core.find_backends(os.fsencode(Path(__file__).parent / "bin"))
