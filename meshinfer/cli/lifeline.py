"""A process that shall not outlive the one that started it: it ends when its standard input closes.

The kernel closes a dead process's end of a pipe however it died, on every Unix; Linux's PR_SET_PDEATHSIG would also
miss a parent that is gone before it is set.
"""

from __future__ import annotations

import os
import signal
import threading
import time

GRACE = 10.0
"""Seconds between the request to stop and the end."""


def end_with_stdin() -> None:
    """From now on this process gets SIGTERM when its standard input closes, and ends at the latest `GRACE` s later."""
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    # os.read, not sys.stdin: a thread that holds sys.stdin's lock makes the interpreter abort when it ends.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
