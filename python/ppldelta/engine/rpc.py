"""Devices of other machines: llama.cpp's RPC backend, whose server runs there (`ppldelta rpc-server`)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable

from ppldelta.errors import PpldeltaError
from ppldelta.wording.names import printable, shown_type

VARIABLE = "PPLDELTA_RPC"
"""Environment variable that names the servers if the caller names none."""

WARNING = "llama.cpp calls RPC a proof of concept, fragile and insecure: never run a server on an open network"

_ENDPOINT = re.compile(r"(?P<host>[^\s,|:]+):(?P<port>\d{1,5})")
_CONNECT_S = 5.0
_HINT = "such as `192.168.0.2:50052`, where `ppldelta rpc-server -H 192.168.0.2 -p 50052` runs"


def endpoints(rpc: str | Iterable[str] | None) -> tuple[str, ...]:
    """The servers, each once.

    Args:
        rpc: `HOST:PORT`, several with commas between them or as a list; None for what the environment names.

    Raises:
        PpldeltaError: something else is given.
    """
    if rpc is None:
        rpc = os.environ.get(VARIABLE, "")
    if not isinstance(rpc, str) and not isinstance(rpc, Iterable):
        raise PpldeltaError(f"`rpc` must be `HOST:PORT` or several of them, got {shown_type(rpc)}", hint=_HINT)
    parts = [part for part in rpc.split(",") if part] if isinstance(rpc, str) else list(rpc)
    for part in parts:
        found = _ENDPOINT.fullmatch(part) if isinstance(part, str) else None
        if not found or not 0 < int(found["port"]) < 2**16:
            what = f"`{printable(part)}`" if isinstance(part, str) else shown_type(part)
            raise PpldeltaError(f"`rpc` must name servers as `HOST:PORT`, got {what}", hint=_HINT)
    return tuple(dict.fromkeys(parts))


def refuse_unreachable(servers: Iterable[str]) -> None:
    """Tries each server, since ggml would end the worker if none answers.

    Raises:
        PpldeltaError: nothing answers there.
    """
    for endpoint in servers:
        host, _, port = endpoint.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        except OSError as error:
            raise PpldeltaError(
                f"no RPC server answers at `{printable(endpoint)}`: {error.strerror or error}",
                hint="start `ppldelta rpc-server` there, from the same version, and see that the port is open",
            ) from error
