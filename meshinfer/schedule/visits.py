"""Whom to visit: peers without a connection that may know of a job here what no neighbour tells of.

Gossip may lose a record, and relays reach one hop. So whoever has a part in a job connects now and then to another that
has, at random: each visit brings both all that either knows, what one knows all know after some log n rounds, and none
is visited more than once a round, on average. At first only the publisher is known; where it is gone, strangers meet at
the peers with the lowest hash of job and name, which everybody computes alike, and those relay.
"""

from __future__ import annotations

from heapq import nsmallest

from meshinfer.model.ids import JobId, PeerId, hash_of
from meshinfer.schedule.interest import RELAYS
from meshinfer.schedule.keeping import Keeping

FAILED = 60.0
"""Seconds for which nobody goes again to a peer that was not reached."""


class Visits:
    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._failed: dict[PeerId, float] = {}
        self._turn = 0

    def failed(self, peer: PeerId, now: float) -> None:
        """It could not be reached."""
        self._failed[peer] = now

    def whom(self, connected: frozenset[PeerId], away: frozenset[PeerId], now: float) -> list[PeerId]:
        """Any of these. `away`: known not to be reached, and tried all the time as it is."""
        log = self._keeping.log
        self._failed = {peer: at for peer, at in self._failed.items() if now < at + FAILED}
        here, away = connected | {log.own.origin}, away | self._failed.keys()
        out: set[PeerId] = set()
        orphans = []
        for job in self._keeping.interest.at_stake(now):
            publishers = log.publishers(job)
            out |= publishers | log.speakers(job)
            if not publishers & here and all(p in away or self._keeping.is_guest(p) for p in publishers):
                orphans.append(job)
        if orphans:  # one at a time: all known peers are ranked for it
            self._turn += 1
            out.update(self._meeting(orphans[self._turn % len(orphans)], away))
        return sorted(peer for peer in out - here - away if not self._keeping.is_guest(peer))

    def _meeting(self, job: JobId, away: frozenset[PeerId]) -> list[PeerId]:
        there = [peer for peer in self._keeping.known if peer not in away and not self._keeping.is_guest(peer)]
        return nsmallest(RELAYS, there, key=lambda peer: hash_of(job.encode(), peer.encode()))
