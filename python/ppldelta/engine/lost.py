"""Sees that a Dask cluster will never finish what it was handed; Dask itself does not say so.

Dask keeps tasks for workers that may still come. A worker whose memory is mostly used begins no task, and Dask counts
the mapped model file as used. A result that cannot be read leaves its future open for ever.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from typing import Any

from ppldelta.errors import PpldeltaError

NO_WORKER_S = 60.0
"""Seconds that a cluster may be without a worker that works while it should: one that has ended is started again."""

LOST_S = 60.0
"""Seconds that a result may take from its worker to here while nothing else is pending."""

_LOOK_S = 2.0  # between two questions to the scheduler
_KEPT = "what was computed is in the store, if one is used: the same call goes on from there"


class Watch:
    """Watches one executor while somebody waits for it, if the executor is Dask's.

    Args:
        executor: such as Dask's `client.get_executor()`; None for a local worker.
    """

    def __init__(self, executor: Executor | None) -> None:
        client: Any = getattr(executor, "_client", None)  # Dask's executor shows it nowhere else
        is_dask = type(executor).__module__.partition(".")[0] == "distributed" and not client.asynchronous
        self._client = client if is_dask else None
        self.begin()

    def begin(self) -> None:
        """Begins to wait anew: called when something was done."""
        self._looked = self._had_worker = self._had_pending = time.monotonic()

    def look(self) -> None:
        """Looks whether anything can still come: called while nothing is done.

        Raises:
            PpldeltaError: nothing will come any more.
        """
        if self._client is None:
            return
        now = time.monotonic()
        if self._client.status in ("closing", "closed"):
            raise PpldeltaError("the connection to the Dask scheduler is closed", hint=_KEPT)
        if any(future.status == "pending" for future in list(self._client.futures.values())):
            self._had_pending = now
        elif now - self._had_pending > LOST_S:
            raise PpldeltaError("the Dask cluster lost a result, or it cannot be read here", hint=_KEPT)
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            workers = self._client.scheduler_info()["workers"].values()
        except OSError:  # the connection is about to be closed, which the next look sees
            return
        if any(map(_works, workers)):
            self._had_worker = now
        elif now - self._had_worker > NO_WORKER_S:
            if workers:
                raise PpldeltaError(
                    f"Dask has paused all workers of the cluster for {NO_WORKER_S:.0f} s: their memory is used",
                    hint=f"start workers with `--memory-limit 0`; {_KEPT}",
                )
            raise PpldeltaError(
                f"the Dask cluster has had no worker for {NO_WORKER_S:.0f} s",
                hint=f"start workers, and see why they end; {_KEPT}",
            )


def _works(worker: dict[str, Any]) -> bool:
    """Whether a worker begins tasks, or at least goes on with one."""
    counts = worker.get("metrics", {}).get("task_counts")
    return worker.get("status") != "paused" or counts is None or counts.get("executing", 0) > 0
