"""What the doctor sees: all that peers answered at one moment; and what it says of it, a finding a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from meshinfer.mesh.api import Unreached
from meshinfer.mesh.offences import KeptOut
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.wire.messages import Health

NAMED = 5
"""Peers that one sentence names, and findings of one sort: beyond, they are counted."""


class Check(NamedTuple):
    check: str
    ok: bool
    what: str
    todo: str = ""
    about: str = ""
    """What tells this finding from others of its sort."""
    settles: bool = False


class Answer(NamedTuple):
    """What a peer said, how far its clock is ahead of ours, and the seconds that asking took."""

    health: Health
    offset: float = 0.0
    took: float = 0.0


@dataclass(frozen=True)
class Look:
    """All that is known at one moment."""

    me: PeerId
    own: Health
    peers: Mapping[PeerId, PeerFact]
    answers: Mapping[PeerId, Answer]
    silent: Mapping[PeerId, str]
    """Connected peers that did not answer, and why."""
    unreached: Mapping[PeerId, Unreached]
    heads: Mapping[PeerId, int]
    """The last event that came live, by origin."""
    announced: int | None
    """The seq under which our `peer` record was just stated anew; None: it could not be."""
    entries: int
    """Files in our catalog."""
    notices: tuple[str, ...] = ()
    """Of our store, about how it was opened."""
    kept_out: Mapping[PeerId, KeptOut] = field(default_factory=dict)
    unasked: int = 0
    """Peers that were not asked, since there are so many."""

    def name(self, peer: PeerId) -> str:
        fact = self.peers.get(peer)
        return "this peer" if peer == self.me else f"{fact.name} ({peer[-6:]})" if fact else peer[-6:]

    def names(self, peers: list[PeerId]) -> str:
        shown = ", ".join(map(self.name, peers[:NAMED]))
        return f"{shown} and {len(peers) - NAMED} more" if len(peers) > NAMED else shown

    def is_guest(self, peer: PeerId) -> bool:
        return peer in self.peers and self.peers[peer].guest

    @property
    def everybody(self) -> dict[PeerId, Health]:
        return {self.me: self.own, **{peer: answer.health for peer, answer in self.answers.items()}}
