"""The pre-shared key of a closed mesh, in the file format that go-libp2p and IPFS use (`swarm.key`)."""

from __future__ import annotations

import base64
import binascii

from meshinfer.errors import ConfigError

HEADER = "/key/swarm/psk/1.0.0/"
KEY_BYTES = 32


def parse_swarm_key(text: str) -> bytes:
    """The 32 bytes in `text`. Raises `ConfigError` that says which line is wrong; the key itself is in no message."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) != 3:
        raise ConfigError(f"a swarm key has 3 lines ({HEADER}, an encoding, the key), this one has {len(lines)}")
    header, encoding, body = lines
    if header != HEADER:
        raise ConfigError(f"the first line of a swarm key is {HEADER}")
    try:
        if encoding == "/base16/":
            key = bytes.fromhex(body)
        elif encoding == "/base64/":
            key = base64.b64decode(body, validate=True)
        else:
            raise ConfigError("the second line of a swarm key is /base16/ or /base64/")
    except (ValueError, binascii.Error) as error:
        raise ConfigError(f"the third line of the swarm key is not valid {encoding.strip('/')}") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"a swarm key has {KEY_BYTES} bytes, this one has {len(key)}")
    return key


def format_swarm_key(key: bytes) -> str:
    """The file that `parse_swarm_key` reads."""
    return f"{HEADER}\n/base16/\n{key.hex()}\n"
