"""What a peer ought to: what it is to hold, which tasks are its own, and whether it has anything left to do."""

from __future__ import annotations

from collections.abc import Iterator

from meshinfer.model.catalog import Entry
from meshinfer.model.ids import TaskId, task_id
from meshinfer.model.record import Record
from meshinfer.model.spans import cut
from meshinfer.schedule.job import JobState
from meshinfer.schedule.log import Slot
from meshinfer.sim.peer import Peer

Version = tuple[int, int]


def version_of(record: Record) -> Version:
    return record.incarnation, record.seq


def keeps(peer: Peer, slot: Slot) -> bool:
    """Whether it is to hold what is said there: all do but of jobs, which concern who takes part. A relay knows what
    its neighbour knew, and nobody asks it for more."""
    return slot.job is None or peer.books.keeping.interest.is_own(slot.job)


def may_hold(peer: Peer, slot: Slot) -> bool:
    """Whether it may hold what is said there: what it is to, and what it keeps for a neighbour."""
    return slot.job is None or slot.job in peer.books.keeping.interest.kept


def tasks_at(job: JobState, peer: Peer) -> Iterator[tuple[Entry, TaskId]]:
    """All tasks of the job that lie at a peer."""
    spec = job.info.spec
    assert spec is not None
    for entry in peer.entries:
        if spec.on.why_not(entry) is None:
            pieces = cut(spec, entry)
            unit = job.unit_for(entry.content, pieces, peer.id)
            for span in range(pieces.spans):
                yield entry, task_id(unit, span)


def is_idle(peer: Peer) -> bool:
    """It has nothing to do, now or later, and has looked at its files and its disk since they changed."""
    busy = peer.runner.working or peer.state.running or not peer.books.at_rest
    has_looked = peer.found == peer.entries and not peer.state.no_room
    return not busy and has_looked and peer.state.next_deadline() is None
