"""What is wrong with a peer and its mesh, reckoned from what all of them answered. Pure: answers in, sentences out.

A mesh is never still: connections come and go, records are on their way. So a finding that may pass by itself
`settles`: it is told only when a second look, taken after every peer has synced once, finds it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from meshinfer.model.facts import ModelRef
from meshinfer.model.ids import PeerId
from meshinfer.node.look import NAMED, Check, Look
from meshinfer.node.overlay import cut_peers, graph_of, one_sided, parts_without
from meshinfer.node.wiring import CENTRE
from meshinfer.schedule.log import StoreId
from meshinfer.wire.messages import Lacking

MAX_OFFSET = 5.0
"""Seconds that a clock may be off. Only `--since` and capture times go by wall clocks."""

MAX_LAG = 0.05
WARM = 60.0
"""Seconds that a peer is up before its lag is judged: starting takes the loop."""

FEW = 3
"""Links: fewer are not safe."""

GRACE = 3.0
"""Seconds that a peer may be away before it is told at the first look."""


def diagnose(look: Look, before: Look | None = None) -> list[Check]:
    """One `ok` line for each thing that is well, else what is wrong with it.

    With a look `before`, what settles is told only where it was found then too; without, it says a second look is due.
    """
    earlier = {(c.check, c.about) for _, _, found in _findings(before, None) for c in found} if before else set()
    checks: list[Check] = []
    for name, fine, findings in _findings(look, before):
        found = [c for c in findings if before is None or not c.settles or (c.check, c.about) in earlier]
        checks += found[:NAMED] or [Check(name, True, fine)]
        if len(found) > NAMED:
            checks.append(Check(name, False, f"{len(found) - NAMED} more of the kind", "begin with those above"))
    return checks


def _findings(look: Look, before: Look | None) -> Iterator[tuple[str, str, Iterator[Check]]]:
    """(check, what to say where nothing is found, findings)."""
    own = look.own
    yield "reach", f"{_count(len(own.connected), 'peer')} connected, nobody out of reach", _reach(look)
    yield "answers", _answered(look), _silence(look)
    yield "links", "both ends of every link know of it", _links(look)
    yield "overlay", _hangs_together(look), _overlay(look)
    yield "offenders", "nobody is kept out", _offenders(look)
    yield "gossip", _heard(look), _gossip(look)
    held = _count(own.records, "record")
    yield "records", f"{held} held, none lacking that others have", _records(look, before)
    kept = _count(own.events, "event")
    yield "events", f"{kept} kept; live events come from whoever is at work", _events(look, before)
    yield "clocks", _in_time(look), _clocks(look)
    yield "loop", f"p99 late by {own.lag * 1000:.1f} ms here", _lag(look)
    yield "disk", f"{own.free >> 20} MB free here, and room for tasks everywhere", _room(look)
    yield "store", f"{own.store / 2**20:.1f} MB in the database", _store(look)
    yield "versions", f"{own.version} everywhere", _versions(look)
    yield "models", f"{_count(len(_held(look)), 'model')} here", _models(look)
    yield "footage", f"{_count(look.entries, 'file')} in the catalog", _footage(look)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ---- peers, and the links between them -------------------------------------------------------------------------------


def _reach(look: Look) -> Iterator[Check]:
    others = [peer for peer, fact in sorted(look.peers.items()) if peer != look.me and not fact.guest]
    if not look.own.connected:
        if others or look.unreached:
            todo = "check this host's network and firewall, and that the others are up and have the same swarm key"
            yield Check("reach", False, "this peer is connected to nobody: it neither tells nor hears", todo, "all")
        else:
            todo = "for more than one: `meshinfer up --bootstrap` with an address that another peer prints"
            yield Check("reach", True, "it is alone: it knows no other peer", todo)
    linked = {other for peer, health in look.everybody.items() if peer != look.me for other in health.connected}
    for peer, tried in sorted(look.unreached.items()):
        if look.is_guest(peer) or peer in look.own.connected or peer in look.kept_out:
            continue
        if peer in linked:
            what, todo = "others are connected to it", "open its port or ours: `meshinfer peers -v` has the addresses"
        else:
            what, todo = "nobody who answers is connected to it", "start it, or check its network, mesh and swarm key"
        since = f" for {tried.seconds:.0f} s" if tried.seconds >= 1 else ""
        said = f"{look.name(peer)} cannot be reached{since}, {what}: {tried.error}"
        yield Check("reach", False, said, todo, peer, tried.seconds < GRACE)
    for peer in others:
        placed = peer in look.own.connected or peer in look.unreached or peer in linked or peer in look.answers
        if not placed and not look.unasked and peer not in look.kept_out:
            what = f"{look.name(peer)} is not connected, and has no address to look for it at"
            todo = "start it; where it dials only out, it must find us: give it our address with --bootstrap"
            yield Check("reach", False, what, todo, peer, settles=True)


def _answered(look: Look) -> str:
    slowest = max((answer.took for answer in look.answers.values()), default=0.0)
    asked = _count(len(look.answers.keys() | look.silent.keys()), "peer")
    return f"{len(look.answers)} of {asked} answered, the slowest in {slowest * 1000:.0f} ms"


def _silence(look: Look) -> Iterator[Check]:
    for peer, why in sorted(look.silent.items()):
        todo = "its process may be frozen or overloaded: look at it on its host, and start it again; or it is too old"
        what = f"{look.name(peer)} is connected and does not answer: {why}"
        yield Check("answers", False, what, todo, peer, look.is_guest(peer))


def _links(look: Look) -> Iterator[Check]:
    told = {peer: health.connected for peer, health in look.everybody.items()}
    for a, b in one_sided(told):
        what = f"{look.name(a)} has a connection to {look.name(b)}, who has none to it"
        todo = "a half-open connection: start the one again that lists it, if it stays; check NATs between them"
        yield Check("links", False, what, todo, f"{a} {b}", settles=True)


def _hangs_together(look: Look) -> str:
    if look.unasked:
        return f"no centre among those asked; {_count(look.unasked, 'peer')} were not"
    return "no peer's loss would split the mesh, and none is its centre"


def _overlay(look: Look) -> Iterator[Check]:
    told = {peer: health.connected for peer, health in look.everybody.items()}
    members = frozenset(peer for peer, fact in look.peers.items() if not fact.guest) | {look.me}
    graph = graph_of(told, members)
    todo = "were it gone, they would be apart: let them reach each other (ports, firewalls, `meshinfer peers -v`)"
    cut = [] if look.unasked else cut_peers(graph)  # of those who were not asked any may hold the mesh together
    for peer in cut:
        parts = parts_without(graph, peer)
        if len(parts) == len(graph) - 1 > 2:
            how = f"a star around {look.name(peer)}: the other {len(parts)} peers are linked only through it"
        else:
            away = sorted(p for part in parts[1:] for p in part)
            how = f"all between {look.names(parts[0])} and {look.names(away)} goes through {look.name(peer)}"
        yield Check("overlay", False, how, todo, peer, settles=True)
    for peer in sorted(look.everybody.keys() & graph.keys()):
        links = len(graph.get(peer, ()))
        if links >= CENTRE:
            how = f"{look.name(peer)} has {links} links: a centre that much of the mesh hangs on"
            todo = "links go as their other ends find more neighbours: those that find none need ports that are open"
            yield Check("overlay", False, how, todo, peer, settles=True)
        elif not cut and 0 < links < min(FEW, len(graph) - 1):
            how = f"{look.name(peer)} has {_count(links, 'link')}, and {len(graph) - 1} others are there"
            todo = "it should have more: see whom it cannot reach (ports, firewalls), or whether many others are down"
            yield Check("overlay", False, how, todo, peer, settles=True)


def _offenders(look: Look) -> Iterator[Check]:
    for peer, kept in sorted(look.kept_out.items()):
        what = f"{look.name(peer)} is kept out for {kept.seconds:.0f} s more, because of {kept.why!r}"
        todo = (
            f"it broke the rules {kept.offences} times: look at its version and its host; it is let in again by itself"
        )
        yield Check("offenders", False, what, todo, peer)


# ---- what travels ----------------------------------------------------------------------------------------------------


def _heard(look: Look) -> str:
    return "announcements reach every peer that answers" if look.answers else "nobody to announce to"


def _gossip(look: Look) -> Iterator[Check]:
    if look.announced is None:
        todo = "see the disk and the store below"
        yield Check("gossip", False, "nothing could be announced: the store took no record in time", todo, "own", True)
        return
    deaf = [peer for peer, a in sorted(look.answers.items()) if a.health.heard < look.announced]
    todo = "jobs reach it seconds late, by sync: see whom it is connected to, and start it again"
    if len(deaf) == len(look.answers) > 1:
        what = "nobody hears what this peer announces"
        yield Check("gossip", False, what, "jobs go out seconds late, by sync: start this peer again", "all", True)
        return
    for peer in deaf:
        yield Check("gossip", False, f"{look.name(peer)} does not hear what this peer announces", todo, peer, True)


def _records(look: Look, before: Look | None) -> Iterator[Check]:
    """A sync lies between two looks: what was lacking at the first has come by then, or never will."""
    behind: dict[StoreId, tuple[Lacking, PeerId]] = {}
    for peer, store, lacking in _lackings(look):
        if store not in behind or lacking.n < behind[store][0].n:
            behind[store] = lacking, peer
    was: dict[StoreId, int] = {}
    for _, store, lacking in _lackings(before) if before is not None else ():
        was[store] = max(was.get(store, 0), lacking.n)
    for store, (lacking, peer) in sorted(behind.items()):
        if before is not None and lacking.n > was.get(store, 0):
            continue
        what = (
            f"{_count(lacking.records, 'record')} of {look.name(store.origin)} lacking here that {look.name(peer)} has"
        )
        todo = "a sync should have brought them: `meshinfer status -v` counts what was refused; start this peer again"
        yield Check("records", False, what, todo, f"{store.origin}/{store.incarnation}", settles=True)


def _lackings(look: Look) -> Iterator[tuple[PeerId, StoreId, Lacking]]:
    for peer, answer in sorted(look.answers.items()):
        for lacking in answer.health.lacking:
            store = StoreId(lacking.origin, lacking.incarnation)
            if lacking.records and store.origin != look.me:
                yield peer, store, lacking


def _events(look: Look, before: Look | None) -> Iterator[Check]:
    """Only of who is at work: that nothing came of what was made long ago is no fault, whoever wants it asks."""
    for peer, answer in sorted(look.answers.items()):
        head, heard = answer.health.events, look.heads.get(peer, 0)
        if before is None:
            lost = answer.health.running > 0 and heard < head
        else:
            then = before.answers[peer].health.events if peer in before.answers else head
            lost = head > then > heard
        if lost:
            what = f"live events of {look.name(peer)} do not come: it made {head}, heard here were {heard}"
            todo = "subscribers here fetch them from it, seconds late: start this peer again"
            yield Check("events", False, what, todo, peer, settles=True)


# ---- each peer by itself ---------------------------------------------------------------------------------------------


def _in_time(look: Look) -> str:
    most = max((abs(answer.offset) for answer in look.answers.values()), default=0.0)
    return f"at most {most:.1f} s apart" if look.answers else "no other clock to compare with"


def _clocks(look: Look) -> Iterator[Check]:
    # Half of what asking took is the error of the measurement.
    off = {p: a.offset for p, a in sorted(look.answers.items()) if abs(a.offset) - a.took / 2 > MAX_OFFSET}
    matters = "`--since` and capture times are off by as much; nothing else goes by wall clocks"
    middle = median(answer.offset for answer in look.answers.values()) if len(look.answers) > 1 else 0.0
    if abs(middle) > MAX_OFFSET and len(off) > 1:
        what = f"the clock here is {_apart(-middle)} of most others'"
        yield Check("clocks", False, what, f"{matters}: set it, best by NTP", "own")
        off = {p: offset for p, offset in off.items() if abs(offset - middle) > MAX_OFFSET}
    for peer, offset in off.items():
        what = f"the clock of {look.name(peer)} is {_apart(offset)} of ours"
        yield Check("clocks", False, what, f"{matters}: set both, best by NTP", peer)


def _apart(offset: float) -> str:
    return f"{abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}"


def _lag(look: Look) -> Iterator[Check]:
    for peer, health in sorted(look.everybody.items()):
        if health.lag > MAX_LAG and health.up >= WARM:
            what = f"{look.name(peer)} is slow to react: its loop is late by {health.lag * 1000:.0f} ms (p99)"
            yield Check("loop", False, what, "its host is overloaded: fewer `--workers`, or fewer programs", peer)


def _room(look: Look) -> Iterator[Check]:
    for peer, health in sorted(look.everybody.items()):
        if health.no_room:
            what = f"{look.name(peer)} starts no tasks: {health.no_room}"
            yield Check("disk", False, what, "free some disk there; it goes on by itself", peer)


def _store(look: Look) -> Iterator[Check]:
    for peer, health in sorted(look.everybody.items()):
        if not health.store:
            what = f"the database file of {look.name(peer)} is gone from its folder: what it does now is lost"
            yield Check("store", False, what, "start that peer again; it makes a new one and asks the others", peer)
    for notice in look.notices:
        yield Check("store", True, notice, "docs/OPERATIONS.md says what follows, and what to look at", notice)


def _versions(look: Look) -> Iterator[Check]:
    found = {health.version for health in look.everybody.values()}
    if len(found) > 1:
        shown = "; ".join(
            f"{version}: {look.names([p for p, h in sorted(look.everybody.items()) if h.version == version])}"
            for version in sorted(found)[:NAMED]
        )
        yield Check("versions", True, f"versions differ ({shown})", "it works; upgrade the older when you can")


def _models(look: Look) -> Iterator[Check]:
    if not _held(look):
        todo = "`meshinfer models add FILE`, if it shall run jobs"
        yield Check("models", True, "no model here: this peer runs no jobs", todo)


def _held(look: Look) -> tuple[ModelRef, ...]:
    return look.peers[look.me].models if look.me in look.peers else ()


def _footage(look: Look) -> Iterator[Check]:
    if not look.entries:
        todo = "`meshinfer up --source NAME=DIR`, if it shall share some"
        yield Check("footage", True, "no footage here: this peer asks and hears", todo)
