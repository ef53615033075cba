"""What the node needs from a network: announce, hear, open a stream, know who is connected.

Two meshes implement it: `libp2p` (the real one) and `memory` (for tests, with `cut()` and `heal()`). The protocol is
small on purpose. Announcements are hints (at least once, unordered, lossy); streams are ordered and reliable while they
live. Both carry bytes; what the bytes mean is `wire`'s business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol

import trio

from meshinfer.mesh.offences import OWN, KeptOut
from meshinfer.model.ids import PeerId

Topic = Literal["peers", "jobs", "events"]
TOPICS: tuple[Topic, ...] = ("peers", "jobs", "events")

MAX_MESSAGE = 64 * 1024
"""Bytes in one announcement. Gossip floods: larger things travel over streams."""

MAX_FRAME = 256 * 1024
"""Bytes in one stream frame: some fit in yamux's buffers, and none starves the connection's other streams."""


class Message(NamedTuple):
    """An announcement as it came: `origin` is authenticated by the network, `data` is not yet checked."""

    topic: Topic
    origin: PeerId
    data: bytes


class PeerChange(NamedTuple):
    """A connection to `peer` came up or went down."""

    peer: PeerId
    up: bool


class Unreached(NamedTuple):
    """A known peer without a connection: where it was looked for, for how many seconds, and what the last try said."""

    addresses: tuple[str, ...]
    seconds: float
    error: str


class Stream(Protocol):
    """An ordered, reliable, length-framed conversation with one authenticated peer.

    Every call has a timeout inside (a peer that doesn't read must not hold a task for ever) and raises `MeshError` when
    the other side is gone or too slow, `MessageTooBig` for a frame over `MAX_FRAME`. After an exception, or a cancelled
    call, the stream is of no more use.
    """

    @property
    def peer(self) -> PeerId: ...

    async def send(self, frame: bytes) -> None: ...

    async def finish(self) -> None:
        """No more frames from this side: the other one receives None. Receiving still works. Leaving the context of
        `open`, or returning from a handler, finishes too."""
        ...

    async def receive(self) -> bytes | None:
        """The next frame, or None when the other side has finished sending. A stream that breaks raises `MeshError`."""
        ...


Handler = Callable[[Stream], Awaitable[None]]


class Mesh(Protocol):
    """A joined mesh. It is entered as a context: inside, it listens and talks; leaving it closes within seconds."""

    @property
    def me(self) -> PeerId: ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddrs (ending in /p2p/<me>) that others can dial; wildcard listens are resolved to interfaces."""
        ...

    @property
    def peers(self) -> frozenset[PeerId]:
        """Peers with a live connection."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """What was dropped, refused or guarded against, by reason; bytes in and out as `bytes_in`, `bytes_out`."""
        ...

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[PeerChange]]:
        """Connections as they come and go, from now on."""
        ...

    def messages(self) -> AsyncIterator[Message]:
        """Announcements of other peers on every topic, until the mesh closes. One consumer. What comes while thousands
        already wait is dropped and counted."""
        ...

    async def publish(self, topic: Topic, data: bytes) -> None:
        """Announce to the others. Waits while queues are long, for a slow peer seconds at most. Raises `MessageTooBig`
        over `MAX_MESSAGE`."""
        ...

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer streams that others open for `protocol` (a short name: `sync`). What a handler raises is counted, not
        spread, and a `ProtocolError` is blamed on the peer; it is cancelled when the connection goes."""
        ...

    def open(self, peer: PeerId, protocol: str) -> AbstractAsyncContextManager[Stream]:
        """A new stream to a peer, which is dialed for it where it is not connected and `introduce` or `know` said where
        it is. `MeshError` where it cannot be reached or doesn't serve `protocol`. Leaving the context closes it (resets
        it when leaving with an exception; a `ProtocolError` is blamed on the peer)."""
        ...

    def know(self, addresses: tuple[str, ...]) -> None:
        """Keep connections to these peers: dialed for ever with jittered backoff until `forget`. Bad addresses are
        counted. More addresses of a known peer are added, and tried at once."""
        ...

    def introduce(self, addresses: tuple[str, ...]) -> None:
        """Where peers are, should a stream to one be opened: nobody is dialed for it now."""
        ...

    async def reach(self, peer: PeerId) -> None:
        """Connect to a peer now, if it is not, as `open` does. `MeshError` where it cannot be reached in seconds."""
        ...

    def forget(self, peer: PeerId) -> None:
        """Stop dialing this peer. A connection to it stays."""
        ...

    async def hang_up(self, peer: PeerId) -> None:
        """Forget this peer and close the connection to it."""
        ...

    def busy(self, peer: PeerId) -> bool:
        """Whether streams are open to this peer or from it."""
        ...

    def blame(self, peer: PeerId, why: str, weight: float = OWN) -> None:
        """This peer broke the rules. Who does so again and again is disconnected and kept out for a while: neither
        dialed nor let in, its announcements dropped (`offences`)."""
        ...

    def kept_out(self) -> Mapping[PeerId, KeptOut]:
        """Who is kept out now, and why."""
        ...

    def unreached(self) -> dict[PeerId, Unreached]:
        """Known peers that are not connected, and why."""
        ...
