"""Where the command `ppldelta` begins: Ctrl-C is heard from here on, while the package is imported too.

A package of its own, since importing any module of `ppldelta` loads the extension first. An interrupt in an import may
come out of it as another error, such as one of a package that is not installed; while there is nothing to clean up,
the process ends on the spot instead.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Runs the command line and returns its exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not ignored, as in the background of a shell
        signal.signal(signal.SIGINT, lambda *_: os._exit(_interrupted()))
    from ppldelta import cli

    try:
        signal.signal(signal.SIGINT, before)
        return cli.main()
    except KeyboardInterrupt:  # before or after `cli.main` listens
        return _interrupted()


def _interrupted() -> int:
    print("ppldelta: interrupted; nothing was begun", file=sys.stderr, flush=True)
    return 130


if __name__ == "__main__":
    sys.exit(main())
