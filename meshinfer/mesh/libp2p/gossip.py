# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""Gossipsub with limits of our own, and without the parts that lose messages or trust strangers.

LIBP2P rows: heartbeat, spam protection, queues, degree, adaptive gossip, meshsub 1.2+, seqno, message ids, size,
discovery (no peer exchange), validators, memory, exceptions in inbound streams.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

import libp2p.pubsub.gossipsub as gossipsub
import libp2p.pubsub.pubsub as pubsub
import trio
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import signature_validator

from meshinfer.mesh.api import MAX_MESSAGE
from meshinfer.mesh.limits import FORWARDER_RATE, ORIGIN_RATE, Buckets
from meshinfer.mesh.offences import FLOOD, OWN, RELAYED

OUTBOUND_QUEUE = 1024
"""RPCs that wait for one peer (libp2p: 32, then silent drops). `publish` waits long before it is full."""

HEARTBEAT = 1
"""Seconds. libp2p's 120 mends the mesh every two minutes."""

DEGREE, DEGREE_LOW, DEGREE_HIGH = 4, 3, 1000
"""Neighbours in the gossip mesh. Three that each peer picks at random make a graph that two deaths don't cut (a 3-out
graph), and every one more is another copy of each message, half a millisecond of CPU. The upper bound is above any
number of connections: a hub that prunes isolates."""

BACK_OFF = 10
"""Seconds before a pruned peer is grafted again; also the most that a peer may ask of us."""


class LongQueue(RpcQueue):
    """libp2p makes the queues itself and takes no size for them."""

    def __init__(self) -> None:
        super().__init__(max_size=OUTBOUND_QUEUE)


pubsub.RpcQueue = LongQueue


class QuietGossipSub(GossipSub):
    """The router, without scores, peer exchange, adaptation."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[PROTOCOL_ID_V11, PROTOCOL_ID],  # 1.2 sends an IDONTWANT for every message
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_initial_delay=0.1,
            heartbeat_interval=HEARTBEAT,
            do_px=False,
            prune_back_off=BACK_OFF,
            unsubscribe_back_off=BACK_OFF,
            adaptive_gossip_enabled=False,  # it can stretch the heartbeat to a minute
            spam_protection_enabled=False,  # it drops above 10 messages a second, our own too
            eclipse_protection_enabled=False,
        )
        self.scorer = None  # its thresholds are off by default; its tables are not free

    async def _do_px(self, px_peers: Any) -> None:
        """A PRUNE can name peers to dial. Addresses come from signed records only."""

    def _add_back_off(self, peer: ID, topic: str, is_unsubscribe: bool, backoff_duration: int = 0) -> None:
        if topic in self.mesh:  # a peer may name any topic, and any number of them
            super()._add_back_off(peer, topic, is_unsubscribe, min(backoff_duration, BACK_OFF))

    def remove_peer(self, peer_id: ID) -> None:
        super().remove_peer(peer_id)
        for peers in self.back_off.values():  # a peer that comes back is grafted at once
            peers.pop(peer_id, None)

    def sweep(self, connected: Any) -> None:
        """Let go of what 0.8.1 only collects."""
        self.equivocation_detection.clear()
        self.recent_message_deliveries.clear()
        self.time_since_last_publish.clear()
        for peer in [p for p in self._pending_messages if p not in connected]:
            del self._pending_messages[peer]


# Made anew for every message, and taken off again by `write_msg`.
gossipsub.env_to_send_in_RPC = lambda host: (b"", False)


class _ReadAhead:
    """A stream that is read in bulk: libp2p reads the length of each message byte by byte, each through four layers, a
    fifth of what a message costs. A few kilobytes, so that a heap of tiny messages doesn't keep the loop."""

    BULK = 8192

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ahead = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, n: int) -> bytes:
        if not self._ahead:
            self._ahead = await self._stream.read(max(n, self.BULK))
        data, self._ahead = self._ahead[:n], self._ahead[n:]
        return data


class GuardedPubsub(pubsub.Pubsub):
    """Pubsub that checks before it verifies, and hands messages over instead of queueing them per topic."""

    def __init__(
        self,
        host: BasicHost,
        router: QuietGossipSub,
        topics: frozenset[str],
        deliver: Callable[[str, bytes, bytes], None],
        lost: Callable[[ID], Awaitable[None]],
        blame: Callable[[ID, str, float], None],
        kept_out: Callable[[ID], bool],
        counters: Counter[str],
    ) -> None:
        super().__init__(host, router, strict_signing=True, allowed_topics=topics)
        # libp2p starts at int(time.time()): a restarted peer would repeat numbers and be taken for its past self.
        self.counter = time.time_ns()
        self._deliver = deliver
        self._lost = lost
        self._blame = blame
        self._kept_out = kept_out
        self._counters = counters
        self._writing: WeakKeyDictionary[Any, trio.Lock] = WeakKeyDictionary()
        self._by_forwarder = Buckets(FORWARDER_RATE)
        self._by_origin = Buckets(ORIGIN_RATE)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Hand over and pass on what is new, genuine and within its rate. In the place of libp2p's, which counts no
        forged signature, and verifies what we publish ourselves."""
        if msg_forwarder != self.my_id and not self._is_welcome(msg_forwarder, msg):
            return
        self._mark_msg_seen(msg)
        self.notify_subscriptions(msg)
        await self.router.publish(msg_forwarder, msg)

    def _is_welcome(self, forwarder: ID, msg: rpc_pb2.Message) -> bool:
        """A forwarder verifies before it passes on, so a message that is not genuine is its own fault; what the message
        says, and how many there are, is its author's."""
        if not self._by_forwarder.take(forwarder, time.monotonic()):
            self._counters["gossip_dropped_forwarder_rate"] += 1
            self._blame(forwarder, "a flood of announcements", FLOOD)
            return False
        if len(msg.data) > MAX_MESSAGE or len(msg.topicIDs) != 1:
            self._counters["gossip_dropped_malformed"] += 1
            self._blame(forwarder, "announcements that are too long", RELAYED)  # elsewhere longer ones may pass
            return False
        if self._is_msg_seen(msg):
            return False
        if not _is_genuine(msg):
            self._counters["gossip_dropped_malformed"] += 1
            self._blame(forwarder, "announcements that nobody signed", OWN)
            return False
        origin = ID(msg.from_id)
        if origin == self.my_id:  # our own, of an earlier life, or come round a corner
            return False
        if self._kept_out(origin):
            self._counters["gossip_dropped_kept_out"] += 1
        elif not self._by_origin.take((msg.from_id, msg.topicIDs[0]), time.monotonic()):
            self._counters["gossip_dropped_origin_rate"] += 1
            self._blame(origin, "a flood of announcements", FLOOD)
        else:
            return True
        self._mark_msg_seen(msg)  # its copies are dropped without another look
        return False

    async def write_msg(self, stream: Any, rpc_msg: rpc_pb2.RPC) -> bool:
        """One writer at a time. 0.8.1 replays recent messages beside the sending loop, and a write above 64 KiB is
        several yamux frames: two at once leave garbage on the stream, and the replay repeats it on the next one.

        Without the sender's signed address record, which 0.8.1 puts on every message and verifies, twice, at every
        receiver: the greeting has carried it, and we learn addresses from records of our own."""
        rpc_msg.ClearField("senderRecord")
        async with self._writing.setdefault(stream, trio.Lock()):
            written: bool = await super().write_msg(stream, rpc_msg)
        return written

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        if publish_message.from_id != self.my_id.to_bytes():
            self._deliver(publish_message.topicIDs[0], publish_message.from_id, publish_message.data)

    async def continuously_read_stream(self, stream: Any) -> None:
        try:
            await super().continuously_read_stream(_ReadAhead(stream))
        except Exception:  # noqa: BLE001 - garbage on the stream; what it raises depends on where it breaks
            self._counters["gossip_streams_broken"] += 1
            if not stream.muxed_conn.is_closed:
                self._blame(stream.muxed_conn.peer_id, "gossip that is no protobuf", OWN)
            self._handle_dead_peer(stream.muxed_conn.peer_id)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """0.8.1 opens a new stream here, but the peer doesn't announce its subscriptions again and stays deaf to us."""
        super()._handle_dead_peer(peer_id)
        if self._peer_is_connected(peer_id) and self.manager.is_running:
            self.manager.run_task(self._lost, peer_id)

    def backlog(self) -> int:
        """RPCs waiting in the longest outbound queue."""
        return max(map(len, self.peer_queues.values()), default=0)

    def sweep(self) -> None:
        now = time.monotonic()
        self._by_forwarder.sweep(now)
        self._by_origin.sweep(now)
        self.validation_cache.clear_expired()
        self.router.sweep(self.peers)
        for events in (self._peer_added_events, self._subscription_events):
            events.clear()


def _is_genuine(msg: rpc_pb2.Message) -> bool:
    try:
        return bool(signature_validator(msg))
    except Exception:  # noqa: BLE001 - a bad key, id or signature raises anything in here
        return False


async def wait_for_room(gossip: GuardedPubsub, patience: float) -> bool:
    """Wait until no outbound queue is long. False when a peer is too slow for that: it will miss messages, alone."""
    with trio.move_on_after(patience) as scope:
        while gossip.backlog() > OUTBOUND_QUEUE // 4:
            await trio.sleep(0.005)
    return not scope.cancelled_caught
