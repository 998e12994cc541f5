"""A Dask cluster by its address, for the command line; in Python, `executor=client.get_executor()` is all it takes."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ppldelta.errors import PpldeltaError
from ppldelta.wording.names import printable

_ADDRESS = re.compile(r"(?:(?P<scheme>tcp|tls)://)?\[?(?P<host>[^\s/]+?)\]?:(?P<port>\d{1,5})")
_ANSWER_S = 5.0
_WORKERS_S = 5.0  # for workers that were started a moment ago
_HINT = "start `dask scheduler` there, and see that the port is open"


@contextmanager
def connected(address: str) -> Iterator[Executor]:
    """The executor of a Dask cluster, for as long as the context lasts.

    Args:
        address: the scheduler's, `tcp://HOST:PORT`, or `tls://…` if Dask's configuration says with which keys.

    Raises:
        PpldeltaError: Dask is not installed, no scheduler answers at the address, or it has no worker.
    """
    try:
        from distributed import Client
        from distributed import TimeoutError as DaskTimeout  # in Python 3.10 neither a TimeoutError nor an OSError
    except ImportError as error:
        raise PpldeltaError(
            f"a Dask cluster needs the package `distributed`, which cannot be imported: {error}",
            hint="pip install 'ppldelta[dask]'",
        ) from None
    if not logging.getLogger().isEnabledFor(logging.DEBUG):  # else tracebacks of a lost connection
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    shown = printable(address)
    _refuse_unreachable(address)
    try:
        client = Client(address, timeout=_ANSWER_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, DaskTimeout) as error:
        said = str(error).splitlines()
        raise PpldeltaError(
            f"cannot connect to the Dask scheduler at `{shown}`: {said[0] if said else type(error).__name__}",
            hint="it needs a version of Dask and settings (TLS) that fit those here",
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except (TimeoutError, DaskTimeout):
            raise PpldeltaError(
                f"the Dask cluster at `{shown}` has no worker that is ready",
                hint=f"start one or more: `dask worker {shown} --nthreads 1 --memory-limit 0`",
            ) from None
        yield client.get_executor()  # type: ignore[no-untyped-call]


def _refuse_unreachable(address: str) -> None:
    """Tries the address first: Dask would try again and again, and wait for ever if what answers is no scheduler.

    Raises:
        PpldeltaError: no scheduler answers there.
    """
    shown = printable(address)
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 2**16:
        raise PpldeltaError(
            f"a Dask cluster must be given as `tcp://HOST:PORT`, got `{shown}`",
            hint="`dask scheduler` prints its address when it starts",
        )
    try:
        with socket.create_connection((found["host"], int(found["port"])), timeout=_ANSWER_S) as probe:
            if found["scheme"] == "tls":
                return
            first = probe.recv(8, socket.MSG_WAITALL)
    except OSError as error:
        raise PpldeltaError(f"no Dask scheduler answers at `{shown}`: {error.strerror or error}", hint=_HINT) from None
    # a Dask scheduler sends the first message of a connection, and the message begins with its length
    if not 0 < int.from_bytes(first, "little") < 2**20:
        raise PpldeltaError(f"what answers at `{shown}` is no Dask scheduler", hint=_HINT)
