"""Who says when a roll-out has ended, and how: any peer may, in turns, so that mostly one does.

Its author comes first; should that one be gone, the others follow, each after a while. Whoever has seen a verdict stand
for so long states it. Two that do so at once say the same, and if they have seen different things, the merge decides
(model/channel.py): what one side of a partition knows to be bad counts on both, and having seen too little weighs less
than having seen enough.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from meshinfer.model.channel import Channel, ended
from meshinfer.model.ids import PeerId, hash_of
from meshinfer.schedule.channels import Said
from meshinfer.schedule.evidence import gather
from meshinfer.schedule.job import JobState
from meshinfer.schedule.judge import Verdict, judge
from meshinfer.schedule.state import ScheduleState

TURN = 15.0
"""Seconds that each peer waits longer than the one whose turn comes before."""

STANDS = {"promote": 5.0, "rollback": 5.0, "lapse": 60.0}
"""Seconds for which a verdict must stand: records of others may be on their way."""

LAST = 600.0
"""Seconds more before another than its author says that too little was seen: perhaps only here."""


def turn(said: Said, me: PeerId, residents: Collection[PeerId], connected: Collection[PeerId]) -> int | None:
    """0: this peer acts first; None: it does not, being a guest, or with nobody to agree with."""
    if me == said.origin:
        return 0
    near = [peer for peer in residents if peer in connected or peer == me]
    if me not in near or len(near) < 2:
        return None
    key = said.state.name.encode(), str(said.state.generation).encode()
    ranked = sorted((p for p in near if p != said.origin), key=lambda peer: hash_of(*key, peer.encode()))
    return 1 + ranked.index(me)


def patience(verdict: Verdict, place: int) -> float:
    """Seconds for which whoever has this turn must have seen the verdict before saying so."""
    last = LAST if verdict == "lapse" and place else 0.0
    return STANDS.get(verdict, math.inf) + place * TURN + last


Seen = dict[tuple[str, int, str], float]
"""(channel, generation, what) -> since when."""


class Watch:
    """What one peer has come to think of the roll-outs under way, and for how long."""

    def __init__(self, state: ScheduleState) -> None:
        self._state = state
        self._since: Seen = {}
        self._stated: dict[str, int] = {}
        """The generation of what was last stated of a channel."""

    def look(self, now: float, *, wall: float) -> list[Channel]:
        """What to state now. Call it every few seconds; the same is not said twice."""
        current: Seen = {}
        jobs = self._jobs()
        out = [state for said in self._state.channels.all() if (state := self._end(said, jobs, now, wall, current))]
        out += [s.state for s in self._state.channels.orphans() if self._takes_up(s, now, current)]
        self._since = current
        for state in out:
            self._stated[state.name] = state.generation
        return out

    def followed(self, now: float) -> list[Said]:
        """Roll-outs of which this peer should hear everything: its own, and when its turn comes those that nobody has
        ended in time."""
        trials = [said for said in self._state.channels.all() if said.state.trying is not None]
        return [said for said in trials if self._is_ours(said, now)]

    def _is_ours(self, said: Said, now: float) -> bool:
        place = self._place(said)
        return place == 0 or (place is not None and is_over(said, now - place * TURN))

    def _jobs(self) -> dict[str, list[JobState]]:
        """By the channel that they name: anybody may begin a thousand roll-outs."""
        jobs: dict[str, list[JobState]] = {}
        for job in self._state.jobs.values():
            if job.info.spec is not None:
                jobs.setdefault(job.info.spec.model, []).append(job)
        return jobs

    def _end(
        self, said: Said, jobs: Mapping[str, list[JobState]], now: float, wall: float, current: Seen
    ) -> Channel | None:
        if said.state.trying is None or self._stated.get(said.state.name, 0) > said.state.generation:
            return None
        judgement = judge(gather(said.state, jobs.get(said.state.name, ())), over=is_over(said, now))
        verdict = judgement.verdict
        if verdict == "wait":
            return None
        place = self._place(said)
        if place is None or not self._stands(said, verdict, patience(verdict, place), now, current):
            return None
        return ended(said.state, verdict, why=judgement.why[:512], stated=wall)

    def _takes_up(self, said: Said, now: float, current: Seen) -> bool:
        """Whether to state again what nobody states any more."""
        place = self._place(said)
        if place is None or self._stated.get(said.state.name, 0) >= said.state.generation:
            return False
        return self._stands(said, "unsaid", patience("promote", place), now, current)

    def _stands(self, said: Said, what: str, seconds: float, now: float, current: Seen) -> bool:
        key = said.state.name, said.state.generation, what
        current[key] = self._since.get(key, now)
        return now >= current[key] + seconds

    def _place(self, said: Said) -> int | None:
        state = self._state
        residents = [peer for peer, fact in state.peers.items() if not fact.guest]
        return turn(said, state.me, residents, state.connected)


def is_over(said: Said, now: float) -> bool:
    trial = said.state.trying
    return trial is not None and now >= said.born + trial.seconds
