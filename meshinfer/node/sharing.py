"""Who may hold the same footage as this peer: those settle who does what, and so want links to each other.

Two sources of evidence: manifests of jobs that name tasks of ours, which are certain; and the sketches in `source`
records, in which our contents are looked up, off the loop and a few peers at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.ids import ContentId, PeerId
from meshinfer.schedule.sketch import HASHES, may_hold
from meshinfer.schedule.state import ScheduleState

SAMPLE = 1000
"""Contents that are looked up, the smallest ids: peers that share some have shared ones among their smallest too."""

AT_A_TIME = 32
"""Peers that are compared with in one go: some ten thousandths of a second each."""


class Sharing:
    """Remembers how much each peer shares, and compares anew where a source has changed."""

    def __init__(self, state: ScheduleState) -> None:
        self._state = state
        self._alike: dict[PeerId, int] = {}
        self._compared: dict[PeerId, tuple[str, ...]] = {}
        self._ours: tuple[str, ...] = ()

    def ranked(self) -> tuple[PeerId, ...]:
        """Who shares something, those that share most first: by powers of two, and within one in an order that differs
        from pair to pair and is the same at both ends, so that the links are spread and both want them."""
        me, alike = self._state.me, dict(self._alike)
        for peer, tasks in self._in_jobs():
            alike[peer] = max(alike.get(peer, 0), tasks)
        return tuple(sorted(alike, key=lambda peer: (-alike[peer].bit_length(), _lot(me, peer))))

    def stale(self) -> list[tuple[PeerId, tuple[bytes, ...]]]:
        """Whom to compare with next: their sketches."""
        sources = self._state.sources
        ours = _version(sources.get(self._state.me, {}).values())
        if ours != self._ours:
            self._ours = ours
            self._compared.clear()
        found = []
        for peer, theirs in sources.items():
            version = _version(theirs.values())
            if peer != self._state.me and self._compared.get(peer) != version:
                self._compared[peer] = version
                found.append((peer, tuple(s.sketch for s in theirs.values() if s.sketch)))
                if len(found) == AT_A_TIME:
                    break
        return found

    def contents(self) -> list[ContentId]:
        return list(self._state.holdings.copies)

    def note(self, alike: dict[PeerId, int]) -> None:
        for peer, contents in alike.items():
            if contents:
                self._alike[peer] = contents
            else:
                self._alike.pop(peer, None)

    def _in_jobs(self) -> Iterable[tuple[PeerId, int]]:
        for job in self._state.jobs.values():
            if job.ready or job.waiting or job.running:
                for peer, tasks in job.held.items():
                    if peer != self._state.me and (common := len(tasks & job.mine.keys())):
                        yield peer, common


def compare(contents: list[ContentId], others: Iterable[tuple[PeerId, tuple[bytes, ...]]]) -> dict[PeerId, int]:
    """How many of some of our `contents` each peer may hold; 0 where it may as well be chance. For a worker thread."""
    some = sorted(contents)[:SAMPLE]
    found = {}
    for peer, sketches in others:
        hits = sum(any(may_hold(bits, content) for bits in sketches) for content in some)
        chance = sum(_false_positives(bits) for bits in sketches) * len(some)
        found[peer] = hits if hits > 3 * chance else 0
    return found


def _false_positives(bits: bytes) -> float:
    filled = int.from_bytes(bits).bit_count() / (8 * len(bits))
    return float(filled**HASHES)


def _version(sources: Iterable[SourceSummary]) -> tuple[str, ...]:
    return tuple(sorted(f"{source.digest} {hash(source.sketch)}" for source in sources))


def _lot(a: PeerId, b: PeerId) -> bytes:
    return sha256(f"{min(a, b)} {max(a, b)}".encode()).digest()
