"""What needs POSIX: a process that is started while signals wait is born with them blocked."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import multiprocessing, signal, subprocess, sys
from ppldelta import posix
with posix.signals_blocked():
    multiprocessing.RLock()  # its tracker's start would unblock them
    status = subprocess.run([sys.executable, "-c", "print(open('/proc/self/status').read())"], capture_output=True)
blocked = int(next(line for line in status.stdout.decode().splitlines() if line.startswith("SigBlk")).split()[1], 16)
print(*(bool(blocked >> (signum - 1) & 1) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_the_first_semaphore_unblocks_no_signal() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["True True True", "set()"]
