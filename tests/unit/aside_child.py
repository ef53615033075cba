"""`python -m tests.unit.aside_child`: a child that does what it is told, for test_variants_aside.py."""

from __future__ import annotations

import os
import signal
import sys
import threading

from meshinfer.detect.variants.aside import Tell, serve
from meshinfer.errors import ModelError


def answer(wish: str, tell: Tell) -> dict[str, int]:
    sys.stdout.write("a library prints this\n")
    match wish:
        case "work":
            tell("half", 0.5)
            return {"child": os.getpid()}
        case "refuse":
            raise ModelError("not this one")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "fail":
            raise ZeroDivisionError("a bug")
        case "eat":
            return {"eaten": len(bytearray(2**31))}
        case "hang":
            tell(str(os.getpid()), 0.1)
            threading.Event().wait()
    return {}


if __name__ == "__main__":
    serve(str, answer)
