"""What comes in on the topics. Bad announcements are counted and go nowhere."""

from __future__ import annotations

from collections import Counter

import trio

from meshinfer.errors import ProtocolError
from meshinfer.mesh.api import Mesh
from meshinfer.node.events import EventHub
from meshinfer.node.records import Records, count
from meshinfer.wire.messages import read_announcement, read_event_batch


async def listen(mesh: Mesh, records: Records, hub: EventHub, rejected: Counter[str]) -> None:
    async for message in mesh.messages():
        try:
            if message.topic == "events":
                hub.receive(message.origin, read_event_batch(message.data))
                continue
            for sealed in read_announcement(message.data).records:
                # Announced as new, so by its origin alone: an old record is not made young by being said again.
                await records.hear(sealed, 0.0, message.origin, of=message.origin)
                await trio.lowlevel.checkpoint()
        except ProtocolError as e:
            count(rejected, f"{message.topic}: {e}")
            mesh.blame(message.origin, f"{message.topic}: {e}")  # who signed it, whoever passed it on
