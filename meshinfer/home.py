"""The folder of one peer: where it is, whose it is, and where its control socket lies."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from meshinfer.errors import ConfigError

IDENTITY = "identity.key"
"""The file in a home that holds the peer's private key."""

SOCKET_PATH_LIMIT = 100
"""Bytes. Linux takes 107, macOS 103; a few are left for a temporary name."""


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`$MESHINFER_HOME`, else `~/.meshinfer`."""
    return Path(environ.get("MESHINFER_HOME") or "~/.meshinfer").expanduser()


def socket_path(home: Path) -> Path:
    """`<home>/control.sock`, or where that is too long for the system a short name that every process derives alike.

    Raises ConfigError where the folder for short names belongs to someone else.
    """
    home = Path(os.path.abspath(home))  # noqa: PTH100  resolve() would follow links: the name must not depend on them
    path = home / "control.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    import hashlib
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"meshinfer-{os.getuid()}"
    _make_folder(folder)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        # Everybody may write to the temporary folder: another user could have put this one there to listen in.
        raise ConfigError(f"{folder}: must be a folder of yours with mode 0700; remove it, or use a shorter --home")
    return folder / f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"


def make_home(home: Path) -> None:
    """Create `home` with mode 0700 where it is missing. Raises ConfigError where it cannot be this peer's own."""
    _make_folder(home)
    status = home.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{home}: is a file where a folder is needed; move it away, or use another --home")
    if status.st_uid != os.getuid():
        raise ConfigError(f"{home}: belongs to another user; use another --home")
    if status.st_mode & 0o002:
        raise ConfigError(f"{home}: everybody can write to it, and it holds this peer's identity: chmod o-w {home}")


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` (mode 0600), whole or not at all, whatever happens meanwhile. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was created or renamed in `folder` outlives a power cut from now on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems keep their own order, and refuse this for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(
            f"{folder}: is a file where a folder is needed; move it away, or use another --home"
        ) from None
    except OSError as e:
        raise ConfigError(f"{folder}: cannot be created: {e.strerror}; use another --home") from None
