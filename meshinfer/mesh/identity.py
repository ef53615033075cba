"""Who a peer is: an ed25519 key, and the libp2p peer id that contains its public half."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

import base58
from nacl.signing import SigningKey

from meshinfer.errors import ConfigError
from meshinfer.home import sync_folder
from meshinfer.model.ids import PeerId

PEER_ID_PREFIX = bytes.fromhex("002408011220")
"""Identity multihash (00, 36 bytes) of the protobuf `PublicKey{type: Ed25519, data: 32 bytes}`."""

KEY_PREFIX = bytes.fromhex("08011240")
"""The protobuf `PrivateKey{type: Ed25519, data: seed + public key}` of the libp2p specification (go, js, rust)."""

SHORT_KEY_PREFIX = bytes.fromhex("08011220")
"""The same with the seed alone, as py-libp2p writes it: read, never written."""

SEED_BYTES = 32


@dataclass(frozen=True)
class Identity:
    """A peer's key. The seed is a secret: it is in no repr and in no message."""

    peer_id: PeerId
    seed: bytes = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """64 bytes: the ed25519 signature over `data`, checked with nothing but the peer id."""
        return SigningKey(self.seed).sign(data).signature

    @staticmethod
    def from_seed(seed: bytes) -> Identity:
        """The identity of a 32-byte seed: equal seeds are equal peers."""
        public = bytes(SigningKey(seed).verify_key)
        return Identity(PeerId(base58.b58encode(PEER_ID_PREFIX + public).decode()), seed)


def ephemeral() -> Identity:
    """A new identity that is kept nowhere: for short-lived peers and tests."""
    return Identity.from_seed(secrets.token_bytes(SEED_BYTES))


def load_or_create(path: Path) -> Identity:
    """The identity in `path`; a missing file is created with mode 0600, whole or not at all.

    Raises `ConfigError` for a file that is no ed25519 key, that others may read, or that cannot be read or written.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot read the identity {path}: {error.strerror}") from error
    _create(path)
    try:
        return _load(path)  # what lies there counts: another process may have created it first
    except OSError as error:
        raise ConfigError(f"cannot read the identity {path}: {error.strerror}") from error


def _load(path: Path) -> Identity:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # to open a pipe would wait for ever
        raise ConfigError(f"the identity {path} is no file; move it away, and restore the key from a backup")
    if mode & 0o077:
        raise ConfigError(
            f"others can read the private key {path} (mode {mode & 0o777:04o}); "
            f"if it has not leaked, run: chmod 600 {path}; else remove it, and this peer gets a new identity"
        )
    with path.open("rb") as file:
        data = file.read(128)  # a key is 68 bytes: never more than that into memory, whatever lies there
    if data.startswith(KEY_PREFIX) and len(data) == len(KEY_PREFIX) + 2 * SEED_BYTES:
        seed, public = data[4 : 4 + SEED_BYTES], data[4 + SEED_BYTES :]
        if bytes(SigningKey(seed).verify_key) == public:
            return Identity.from_seed(seed)
    elif data.startswith(SHORT_KEY_PREFIX) and len(data) == len(SHORT_KEY_PREFIX) + SEED_BYTES:
        return Identity.from_seed(data[4:])
    raise ConfigError(
        f"{path} is no libp2p ed25519 private key; "
        "restore it from a backup, or remove it and this peer gets a new identity"
    )


def _create(path: Path) -> None:
    seed = secrets.token_bytes(SEED_BYTES)
    data = KEY_PREFIX + seed + bytes(SigningKey(seed).verify_key)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # unlike rename, it never replaces a key that another process just wrote
            except FileExistsError:
                pass
            except OSError:
                temporary.rename(path)  # a file system without hard links
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)  # what is signed with it must not be a stranger's after a power cut
    except OSError as error:
        raise ConfigError(f"cannot write the identity {path}: {error.strerror}") from error
