"""What a schedule says of its work, and how often."""

from __future__ import annotations

from meshinfer.model.facts import MAX_OUTCOMES, MAX_UNITS_A_PAGE, Claim, Manifest, Outcomes
from meshinfer.model.ids import unit_of
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.reports import SAY_MANIFEST, SAY_OUTCOMES
from meshinfer.wire.codec import encode
from meshinfer.wire.records import MAX_RECORD
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    ME,
    Peer,
    claim,
    end,
    entry,
    job_of,
    manifest,
    named,
    outcome,
    outcomes,
    peer,
    started,
    task,
)


def test_what_a_full_disk_holds_back_is_not_the_last_word() -> None:
    """A file goes while nothing can be written down, and comes back before that is over."""
    me = Peer(entry("a"), entry("b"))
    me.hear(CAROL, JOB)
    me.run_until(me.now + 2)
    me.echo = False  # what is stated waits
    film = entry("b")
    me.handle(st.CatalogChanged((), ((film.source, film.name),)))
    me.handle(st.TaskReturned(task(JOB, "b")))
    me.run_until(me.now + 2)
    me.handle(st.CatalogChanged((film,)))
    me.run_until(me.now + 2)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(fact.units) for fact in said] == [2, 1, 2]


def test_outcomes_are_batched_and_the_last_one_does_not_wait() -> None:
    """They wait SAY_OUTCOMES for company. With a claim they go at once and before it: what it names no longer must
    be known to have ended, or a holder of a copy would take it up.
    """
    me = Peer(*map(entry, "abcd"))
    me.hear(CAROL, JOB)
    assert end(me, "a", 100.1) == []
    assert end(me, "b", 100.2) == []
    assert me.state.next_deadline() == 100.1 + SAY_OUTCOMES
    assert me.tick(100.35) == [st.State(outcomes(JOB, outcome(JOB, "a"), outcome(JOB, "b")))]
    assert end(me, "c", 101.0) == [
        st.State(outcomes(JOB, outcome(JOB, "c"))),
        st.State(Claim(JOB.id, claim(JOB, "d").running, 30, 9, 1.0)),
    ]
    assert end(me, "d", 101.3) == [
        st.State(outcomes(JOB, outcome(JOB, "d"))),
        st.State(Claim(JOB.id, (), 40, 12, 1.3)),
    ]
    assert me.state.next_deadline() is None


def test_claims_come_once_a_second_while_there_is_news() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    for i in range(1, 30):
        me.handle(st.TaskProgressed(task(JOB, "a"), i, 2 * i), 100.0 + i / 10)
    claims = [fact for fact in me.stated if isinstance(fact, Claim)]
    assert [(c.analysed, c.detections, c.seconds) for c in claims] == [(0, 0, 0.0), (10, 20, 1.0), (20, 40, 2.0)]
    me.run_until(110.0)
    assert len([fact for fact in me.stated if isinstance(fact, Claim)]) == 4
    me.run_until(200.0)
    assert len([fact for fact in me.stated if isinstance(fact, Claim)]) == 4


def test_a_claim_of_an_earlier_run_is_corrected() -> None:
    """Two holders that were killed at the same task, each with a claim on it, must not wait for each other."""
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name), echo=False)
    me.handle(st.Connected(BOB))
    for origin in (BOB, ME):
        for fact in (peer(), JOB, claim(JOB, name), manifest(JOB, name)):
            me.hear(origin, fact, born=me.now - 60)
    me.run_until(me.now + 5)
    assert next(fact for fact in me.stated if isinstance(fact, Claim)) == Claim(JOB.id, (), 0, 0, 0.0)


def test_a_manifest_is_said_at_once_and_then_at_most_once_a_second() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    for i in range(5):
        me.handle(st.CatalogChanged((entry(f"n{i}"),)), 100.0 + (i + 1) / 10)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(m.units) for m in said] == [1]
    me.run_until(100.0 + SAY_MANIFEST)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(m.units) for m in said] == [1, 6]


def test_a_manifest_of_many_tasks_has_pages() -> None:
    """Each page a record of bounded size, over 2000 tasks; fewer tasks later make the later pages void."""
    me = Peer(*(entry(f"f{i}") for i in range(MAX_UNITS_A_PAGE + 1)), window=8)
    me.hear(CAROL, JOB)
    pages = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [(p.page, p.pages, len(p.units)) for p in pages] == [(0, 2, MAX_UNITS_A_PAGE), (1, 2, 1)]
    assert max(len(encode(p)) for p in pages) < MAX_RECORD - 1024
    assert job_of(me).held[ME].keys() == {unit_of(t) for t in job_of(me).mine}
    gone = sorted(job_of(me).mine)[-2:]
    names = [job_of(me).mine[t].entry.name for t in gone if job_of(me).mine[t].status == "pending"]
    me.handle(st.CatalogChanged((), tuple(("cam", name) for name in names)), me.now + 5)
    assert job_of(me).held[ME].keys() == {unit_of(t) for t in job_of(me).mine}


def test_failures_with_long_explanations_fill_several_records() -> None:
    """What is stated must fit a record, whatever the errors say."""
    me = Peer(*(entry(f"f{i}") for i in range(MAX_OUTCOMES)), window=8000)
    me.hear(CAROL, JOB)
    for i in range(MAX_OUTCOMES):
        end(me, f"f{i}", done=False, error="\N{BROKEN HEART}" * 512)
    batches = [fact for fact in me.stated if isinstance(fact, Outcomes)]
    assert sum(len(b.outcomes) for b in batches) == MAX_OUTCOMES
    assert max(len(encode(b)) for b in batches) < MAX_RECORD - 1024


def test_next_deadline_is_when_there_is_something_to_do() -> None:
    """Ticks before it do nothing, and after all is done there is none."""
    me = Peer(entry("a"), entry("b"))
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    while (deadline := me.state.next_deadline()) is not None and me.now < 200:
        before = len(me.stated)
        assert me.tick((me.now + deadline) / 2) == []
        effects = me.tick(deadline)
        assert effects or len(me.stated) > before
        for name in started(effects) or sorted(job_of(me).mine[t].entry.name for t in job_of(me).running):
            end(me, name)
    assert deadline is None
    assert all(mine.status == "ended" for mine in job_of(me).mine.values())
