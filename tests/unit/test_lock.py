"""One node a home, and what is said where the folder cannot be held."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from meshinfer.errors import ConfigError
from meshinfer.node.lock import hold


def test_a_home_is_held_once_and_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with hold(tmp_path):
            with pytest.raises(ConfigError, match=rf"running here already \(pid {os.getpid()}\)"), hold(tmp_path):
                pass
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n", "who was refused changed nothing"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(ConfigError, match=r"cannot be locked: No locks available; .*not on the network"),
        hold(tmp_path),
    ):
        pass


def test_a_home_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "h").touch()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"), hold(tmp_path / "h"):
        pass
