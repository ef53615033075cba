"""Which tasks of a job lie here: what its selector picks from the catalog, cut into spans."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from meshinfer.model.catalog import Entry
from meshinfer.model.ids import ContentId, PeerId, span_of, task_id
from meshinfer.model.spans import cut
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.job import JobState, Mine


def match(
    job: JobState,
    contents: Iterable[ContentId],
    holdings: Holdings,
    me: PeerId,
    *,
    able: bool,
    series: bool | None = None,
) -> bool:
    """Take up, change or drop the tasks of these contents; whether the job has others now. What runs, runs on.

    `able`: whether this peer can do the job at all. If not (its model was taken away), it has no tasks of it.
    `series`: whether its model looks at series; False: at pictures.
    """
    spec = job.info.spec
    assert spec is not None
    changed = False
    for content in contents:
        entry = holdings.pick(spec, content, series) if able else None
        if entry is None:
            changed |= _drop(job, content)
        else:
            changed |= _take_up(job, entry, me)
    if changed:
        job.ready = deque(sorted((task for task in job.ready if task in job.mine), key=lambda t: order(job.mine[t])))
    return changed


def order(mine: Mine) -> tuple[str, str, int]:
    """In which tasks are taken: a file after the other, from its start."""
    return mine.entry.source, mine.entry.name, span_of(mine.task)


def _take_up(job: JobState, entry: Entry, me: PeerId) -> bool:
    assert job.info.spec is not None
    pieces = cut(job.info.spec, entry)
    unit = job.unit_for(entry.content, pieces, me)
    changed = False
    for span in range(pieces.spans):
        task = task_id(unit, span)
        mine = job.mine.get(task)
        if mine is not None:
            if mine.status == "pending":
                mine.entry = entry
            continue
        job.mine[task] = mine = Mine(task, entry, *pieces.bounds(span))
        if (own := job.outcomes.get(task, {}).get(me)) is not None:
            job.end(mine, own)
        else:
            job.ready.append(task)
        changed = True
    job.units[entry.content] = unit, pieces.spans
    return changed


def _drop(job: JobState, content: ContentId) -> bool:
    unit, spans = job.units.get(content, (None, 0))
    if unit is None:
        return False
    tasks = [task_id(unit, span) for span in range(spans)]
    pending = [task for task in tasks if (mine := job.mine.get(task)) is not None and mine.status == "pending"]
    for task in pending:
        del job.mine[task]
        job.waiting.discard(task)
    if not any(task in job.mine for task in tasks):
        del job.units[content]
    return bool(pending)
