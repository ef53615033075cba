"""What a peer tells of a job that it took part in, asked for over the mesh."""

from __future__ import annotations

from meshinfer.model.detection import Cursor, Event
from meshinfer.model.ids import TaskId
from meshinfer.node.findings import Gallery
from meshinfer.node.replay import Found
from meshinfer.wire.messages import ResultsEnd, ResultsOf, Tasks
from tests.shell.support import World, entry, found, order, who


async def test_spans_of_a_file_and_what_an_equal_job_had_done(world: World) -> None:
    """The first job did one span, the second job the other one and finds the first done: its results are both."""
    alice, bob, _ = await world.three()
    first, second = order("one"), order("two")
    spans = [(TaskId("1" * 24 + "00000000"), 0, 50), (TaskId("1" * 24 + "00000001"), 50, None)]
    for job, (task, start, stop) in ((first.id, spans[1]), (second.id, spans[0])):
        row = alice.tasks.begin(task, job, entry("film"), start, stop)
        alice.tasks.commit(
            task, [found(start + 1), found(start + 9)], run=row.run, next_frame=start + 20, analysed=20, seconds=1.0
        )
        alice.tasks.finish(task, run=row.run)
    assert alice.tasks.begin(spans[1][0], second.id, entry("film"), 50, None).state == "done"
    told = [m async for m in bob.findings.of(alice.id, ResultsOf(second.id))]
    reports = [report for m in told if isinstance(m, Tasks) for report in m.tasks]
    assert [(r.task, r.first, r.stop, r.state, r.frames, r.detections) for r in reports] == [
        (*span, "done", 20, 2) for span in spans
    ]
    events = [event for m in told if isinstance(m, Found) for event in m.events]
    assert [(e.job, e.frame) for e in events] == [(second.id, n) for n in (1, 9, 51, 59)]
    assert told[-1] == ResultsEnd()
    of_first = [m async for m in bob.findings.of(alice.id, ResultsOf(first.id)) if isinstance(m, Found)]
    assert [(e.job, e.frame) for m in of_first for e in m.events] == [(first.id, 51), (first.id, 59)]


def test_pictures_are_spread_over_the_length_of_a_file() -> None:
    gallery = Gallery({("cam", "film"): 100}, 2)
    for event in (at(n, seen) for n, seen in ((3, 1), (40, 2), (49, 2), (60, 1), (99, 1))):
        gallery.offer(event)
    assert [e.frame for e in gallery.picks()] == [40, 60], "the richest of each half, the earliest of equals"


def at(frame: int, seen: int) -> Event:
    result = found(frame, *["person"] * seen)
    cursor = Cursor(who("alice").peer_id, 1, frame + 1)
    task, where = TaskId("1" * 32), entry("film")
    return Event(
        cursor, order().id, task, where.source, where.name, where.content, frame, result.t, 8, 8, result.detections
    )
