"""Leases: how long others leave a job's work to a peer that has said nothing since.

A lease counts from the moment at which the peer was last heard to speak of the job, on this peer's own monotonic clock:
no clock of another machine decides anything. Whoever has work that others could do speaks every RENEW seconds, so one
lost renewal changes nothing, and a peer that is gone is missed within LEASE seconds.
"""

from __future__ import annotations

import math

from meshinfer.model.ids import PeerId

LEASE = 4.5
"""Seconds after its last word at which a peer's part of a job is anyone's."""

RENEW = 1.5
"""Seconds between two words of a peer with work that others could do."""

STUCK = 30.0
"""Seconds without progress after which the lease of a peer at work ends all the same: a stuck peer is not a live one.
Loading a model, or one frame on a slow board, may take many seconds; a wrong guess costs double work, nothing else."""

PATIENCE = 60.0
"""Seconds that a task is left to a peer that lives and gets on with nothing in the job: it may not want it."""

STALL = 0.25
"""Seconds by which this peer may be late for its own deadline before it distrusts itself: what it did not hear
meanwhile, others may well have said."""


class Leases:
    """Of one job, by peer."""

    def __init__(self) -> None:
        self._spoke: dict[PeerId, float] = {}
        self._moved: dict[PeerId, float] = {}

    def spoke(self, peer: PeerId, at: float) -> None:
        """It stated something about the job then."""
        self._spoke[peer] = max(at, self._spoke.get(peer, -math.inf))

    def moved(self, peer: PeerId, at: float) -> None:
        """It got on with its work then, or had none."""
        self._moved[peer] = max(at, self._moved.get(peer, -math.inf))

    def until(self, peer: PeerId, *, at_work: bool) -> float:
        """When its lease ends, as things are; -inf for a peer that was never heard."""
        end = self._spoke.get(peer, -math.inf) + LEASE
        return min(end, self._moved.get(peer, -math.inf) + STUCK) if at_work else end

    def got_on(self, peer: PeerId) -> float:
        """When it last got on with its work; -inf for a peer that was never heard."""
        return self._moved.get(peer, -math.inf)

    def shift(self, seconds: float) -> None:
        """This peer stood still for so long: nobody is held to that time."""
        for times in (self._spoke, self._moved):
            for peer in times:
                times[peer] += seconds

    def forget(self, peer: PeerId) -> None:
        self._spoke.pop(peer, None)
        self._moved.pop(peer, None)
