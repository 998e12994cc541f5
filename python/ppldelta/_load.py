"""Loads the native extension, which every other module then imports as `ppldelta._core`.

A thread of llama.cpp that waits for the others spins for milliseconds before it sleeps (GNU OpenMP's default). Where
something else runs on the machine, that made runs many times slower; a short spin costs nothing where nothing does.
OpenMP reads the setting once, when it is loaded with the extension; the environment is left as it was.
"""

from __future__ import annotations

import os
import re
from pathlib import Path


def hint(reason: str) -> str:
    """The next step if the extension cannot be loaded, from what the loader said."""
    missing = re.match(r"(\S+?): cannot open shared object file", reason)
    library = missing[1] if missing else ""
    if library == "libcuda.so.1":
        return (
            "`libcuda.so.1` is a part of NVIDIA's driver, which this machine lacks; install the driver, "
            "or build without `-DGGML_CUDA=on` (with `-DGGML_CUDA_NO_VMM=ON` beside it, a CUDA build also runs without)"
        )
    if cuda := re.fullmatch(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d+)", library):
        names = " ".join(
            f"nvidia-{name}" + (f"-cu{cuda[1]}" if int(cuda[1]) < 13 else "") for name in ("cuda-runtime", "cublas")
        )
        return (
            f"this build is for CUDA {cuda[1]}, and the loader does not find its `{library}`; `pip install {names}`, "
            "or name the toolkit's folder of libraries in LD_LIBRARY_PATH (such as /usr/local/cuda/lib64)"
        )
    if library and not re.match(r"lib(ggml|llama)", library):
        return (
            f"install the library `{library}`, which this build is linked with, or name its folder in LD_LIBRARY_PATH"
        )
    return "install the package with `pip install .` and run Python outside of its source folder"


_SPIN = "GOMP_SPINCOUNT"
_is_set = _SPIN in os.environ
os.environ.setdefault(_SPIN, "1000")
try:
    from ppldelta import _core
    from ppldelta._core import __version__ as __version__
except ImportError as error:  # a source folder on the path, or a library that the loader cannot find
    raise ImportError(f"ppldelta's native extension cannot be loaded ({error}).\nhint: {hint(str(error))}") from error
finally:
    if not _is_set:
        del os.environ[_SPIN]

# where a build for many processors has the kernels for each kind
_core.find_backends(os.fsencode(Path(__file__).parent / "bin"))
