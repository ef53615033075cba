"""Who broke the rules, how often, and who is kept out for it. Pure: time is told.

A score per peer that halves every minute: one bad frame is forgotten, ten in a row are not. Each time that a peer is
kept out it is for twice as long as the last, up to an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from meshinfer.model.ids import PeerId

LIMIT = 10.0
"""The score at which a peer is kept out."""

HALF_LIFE = 60.0
FIRST, LONGEST = 60.0, 3600.0
"""Seconds that a peer is kept out, the first time and at most."""

FORGIVEN_AFTER = 2 * LONGEST
"""Seconds without an offence after which the next one counts as the first."""

MAX_FILES = 1024
"""Peers that are kept in mind. Above it those with the lowest scores are forgotten: identities cost nothing."""

OWN, RELAYED, FLOOD = 1.0, 0.1, 0.01
"""What one offence weighs: a frame that its author got wrong; one that an honest peer may pass on unknowing; one
announcement above the rate that a peer has."""


class KeptOut(NamedTuple):
    """For how many seconds more, and what the last offence was."""

    seconds: float
    why: str
    offences: int
    """In all, as far as remembered."""


@dataclass(slots=True)
class _File:
    score: float = 0.0
    at: float = 0.0
    offences: int = 0
    times: int = 0
    until: float = 0.0
    why: str = ""

    def score_at(self, now: float) -> float:
        return float(self.score * 0.5 ** ((now - self.at) / HALF_LIFE))


class Offences:
    def __init__(self) -> None:
        self._files: dict[PeerId, _File] = {}

    def note(self, peer: PeerId, why: str, now: float, weight: float = OWN) -> bool:
        """One more offence, at `now` (monotonic seconds). Whether the peer is kept out from here on; while it is,
        nothing that is still on its way counts."""
        file = self._files.get(peer)
        if file is None or now - max(file.at, file.until) > FORGIVEN_AFTER:
            self._make_room(now)
            file = self._files[peer] = _File(at=now)
        if now < file.until:
            return False
        file.score, file.at, file.why = file.score_at(now) + weight, now, why[:200]
        file.offences += 1
        if file.score < LIMIT:
            return False
        file.until = now + min(LONGEST, FIRST * 2.0**file.times)
        file.times += 1
        file.score = 0.0
        return True

    def left(self, peer: PeerId, now: float) -> float:
        """Seconds for which the peer is still kept out; 0 where it is not."""
        file = self._files.get(peer)
        return max(0.0, file.until - now) if file is not None else 0.0

    def kept_out(self, now: float) -> Mapping[PeerId, KeptOut]:
        return {p: KeptOut(f.until - now, f.why, f.offences) for p, f in self._files.items() if now < f.until}

    def _make_room(self, now: float) -> None:
        if len(self._files) < MAX_FILES:
            return
        least = sorted(self._files, key=lambda p: (max(0.0, self._files[p].until - now), self._files[p].score_at(now)))
        for peer in least[: MAX_FILES // 8]:
            del self._files[peer]
