"""A file from the web, whole or to be continued: what is there already is not asked for again."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import meshinfer
from meshinfer.errors import ConfigError, MeshError, ModelError

PATIENCE = 30.0
"""Seconds without a byte."""

ATTEMPTS = 5
"""Connections that may break one after another without bringing anything."""

PIECE = 64 * 1024


def download(url: str, part: Path, *, size: int, sha256: str, progress: Callable[[int], None]) -> None:
    """Make `part` the file of `size` bytes at `url`, going on with what it holds. `progress` hears of bytes so far.

    Proxies and certificates are those of the environment (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE). Raises ConfigError for
    an address that may not be used; MeshError where the network fails: `part` stays, and the next call goes on with it;
    ModelError where the file is another one or the disk is full.
    """
    check_url(url)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _hold(file, part)
            _fill(url, file, size, progress)
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise ModelError(f"{part.parent}: the disk is full: free {size / 2**20:.0f} MB, and try again") from None
        raise ModelError(f"{part}: cannot be written: {e.strerror}") from None
    with part.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        part.unlink()
        raise ModelError(f"{url} is not the file it should be (sha256 {got[:12]}, expected {sha256[:12]}): thrown away")


def check_url(url: str) -> None:
    """https, or http on this machine, where nobody is in between. Raises ConfigError."""
    parts = urlsplit(url)
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname))):
        raise ConfigError(f"{url}: expected https://... (http only on this machine)")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hold(file: IO[bytes], part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{part.name} is being fetched by another process: wait for it") from None


def _fill(url: str, file: IO[bytes], size: int, progress: Callable[[int], None]) -> None:
    broken = 0
    if file.tell() > size:
        file.truncate(0)
    while (before := file.seek(0, 2)) < size:
        progress(before)
        try:
            with closing(_opened(url, before)) as answer:
                _take(url, answer, file, size, progress)
        except _BrokenOff as e:
            why = str(e)
        else:
            why = "the connection closed"
        broken = broken + 1 if file.tell() == before else 0
        if file.tell() < size and broken >= ATTEMPTS:
            raise MeshError(f"{url} broke off at {file.tell()} of {size} bytes ({why}): try again, it goes on there")
    file.flush()
    progress(size)


def _take(url: str, answer: Any, file: IO[bytes], size: int, progress: Callable[[int], None]) -> None:
    at = file.tell()
    if answer.status == 206:
        if not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {at}-"):
            raise MeshError(f"{url}: the server sent another part of the file than was asked for")
    else:  # it knows no ranges: from the start
        at = file.truncate(0)
        file.seek(0)
    while piece := _piece(answer):
        if at + len(piece) > size:
            file.truncate(0)
            raise ModelError(f"{url} is larger than the {size} bytes it should have: thrown away")
        file.write(piece)
        file.flush()
        at += len(piece)
        progress(at)


def _piece(answer: Any) -> bytes:
    try:
        piece: bytes = answer.read(PIECE)
    except (http.client.HTTPException, OSError) as e:
        raise _BrokenOff(str(e) or type(e).__name__) from None
    return piece


class _BrokenOff(Exception):
    """The connection; what came before it counts."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str, at: int) -> Any:
    """The answer of the server. Raises MeshError or _BrokenOff."""
    headers = {"User-Agent": f"meshinfer/{meshinfer.__version__}"} | ({"Range": f"bytes={at}-"} if at else {})
    opener = urllib.request.build_opener(_Redirects())
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=PATIENCE)  # noqa: S310  `check_url`
    except urllib.error.HTTPError as e:
        e.close()
        hint = {404: ": it is not there (any more); `--from` names a mirror", 407: ": the proxy wants a password"}
        raise MeshError(f"{url}: {e.code} {e.reason}{hint.get(e.code, '')}") from None
    except urllib.error.URLError as e:
        if isinstance(e.reason, ssl.SSLCertVerificationError):
            raise MeshError(
                f"{url}: its certificate is not trusted ({e.reason.verify_message}); behind a proxy that opens TLS set "
                "SSL_CERT_FILE to its certificates"
            ) from None
        raise MeshError(
            f"{url}: cannot be reached ({e.reason}): is there a network? HTTPS_PROXY is honoured, and `--from` names a "
            "mirror; or bring the file and `meshinfer models add` it"
        ) from None
    except (http.client.HTTPException, OSError) as e:
        raise _BrokenOff(str(e) or type(e).__name__) from None
