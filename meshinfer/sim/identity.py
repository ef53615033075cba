"""Keys of simulated peers: real ed25519, from their numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import base58
from nacl.signing import SigningKey

from meshinfer.model.ids import PeerId

PREFIX = bytes.fromhex("002408011220")
"""Of every ed25519 peer id, as in `mesh/identity.py`."""


class Keys(NamedTuple):
    peer: PeerId
    key: SigningKey

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data).signature


@lru_cache(maxsize=10_000)
def keys(number: int) -> Keys:
    key = SigningKey(number.to_bytes(32, "big"))
    return Keys(PeerId(base58.b58encode(PREFIX + bytes(key.verify_key)).decode()), key)
