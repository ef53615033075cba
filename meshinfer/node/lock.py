"""One node a home folder: two would share an identity, and the mesh would see one peer say two things."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshinfer.errors import ConfigError


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Hold the folder for as long as the context; the kernel lets go however the process ends. Raises ConfigError."""
    path = home / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise ConfigError(f"{home}: cannot be written: {e.strerror}; mend that, or use another --home") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode(errors="replace").strip() or "?"
            raise ConfigError(
                f"{home}: a node is running here already (pid {pid}), or a command that changes its models; wait for "
                "it or stop it, or use another --home"
            ) from None
        except OSError as e:
            raise ConfigError(
                f"{home}: cannot be locked: {e.strerror}; a home lies on a disk of this machine, not on the network"
            ) from None
        with suppress(OSError):  # a full disk: the pid is only for the message above
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(fd)
