"""What the doctor makes of answers: tables of meshes that are ill, each in one way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshinfer.mesh.api import Unreached
from meshinfer.mesh.offences import KeptOut
from meshinfer.model.facts import ModelRef, PeerFact
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.diagnosis import diagnose
from meshinfer.node.look import Answer, Check, Look
from meshinfer.node.overlay import cut_peers, graph_of, one_sided, parts_without
from meshinfer.wire.messages import Health, Lacking
from tests.property.strategies import PEERS

ME, BOB, CAROL, DAVE, ERIN = (identity.peer_id for identity in PEERS)
NAMES = {ME: "alice", BOB: "bob", CAROL: "carol", DAVE: "dave", ERIN: "erin"}
MODEL = ModelRef("m", ModelDigest("a" * 64))
STAR = {ME: "b", BOB: "acde", CAROL: "b", DAVE: "b", ERIN: "b"}
PEER_OF = {name[0]: peer for peer, name in NAMES.items()}


def peers(letters: str) -> tuple[PeerId, ...]:
    return tuple(PEER_OF[letter] for letter in letters)


def fact(peer: PeerId, **changes: Any) -> PeerFact:
    return msgspec.structs.replace(PeerFact(NAMES[peer], {}, (), "1", 1, 1, (), (MODEL,)), **changes)


def health(connected: str = "", to: tuple[PeerId, ...] = (), **changes: Any) -> Health:
    """Of a peer that has connections to these, by first letters or ids."""
    well = Health(1e9, "1", 600.0, to or peers(connected), 0.001, 2**33, 2**20, 5, 0, 10, heard=3)
    return msgspec.structs.replace(well, **changes)


def look(links: dict[str, str], **changes: Any) -> Look:
    """`links`: who tells of which connections, by first letters. All of those we are connected to answer."""
    own = links["a"]
    answers = {peer: Answer(health(links[NAMES[peer][0]])) for peer in peers(own)}
    made: dict[str, Any] = {
        "me": ME,
        "own": health(own),
        "peers": {peer: fact(peer) for peer in peers("".join(links))},
        "answers": answers,
        "silent": {},
        "unreached": {},
        "heads": {},
        "announced": 3,
        "entries": 4,
    }
    return Look(**{**made, **changes})


def full(**changes: Any) -> Look:
    return look({"a": "bc", "b": "ac", "c": "ab"}, **changes)


def with_bob(**changes: Any) -> dict[PeerId, Answer]:
    return {BOB: Answer(health("ac", **changes)), CAROL: Answer(health("ab"))}


def wrong(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.ok]


def one(at: Look, before: Look | None = None) -> Check:
    """The only thing that is wrong."""
    (found,) = wrong(diagnose(at, before))
    return found


def test_a_mesh_that_is_well_gets_one_line_a_check() -> None:
    checks = diagnose(full())
    assert wrong(checks) == []
    assert [c.check for c in checks] == list(dict.fromkeys(c.check for c in checks))
    assert all(c.what and not c.todo for c in checks)
    assert diagnose(full(), full()) == checks


def test_a_star_is_found_from_a_leaf_and_from_the_hub() -> None:
    """Five peers of which one knows all the others, as a bootstrap peer does that nobody ever leaves."""
    leaf = look({"a": "b", "b": "acde", "c": "b", "d": "b", "e": "b"})
    assert one(leaf).check == "overlay"
    assert "a star around bob" in one(leaf).what
    assert "4 peers" in one(leaf).what
    assert "let them reach each other" in one(leaf).todo
    hub = look({"a": "bcde", "b": "a", "c": "a", "d": "a", "e": "a"})
    assert "a star around this peer" in one(hub).what


def test_a_centre_is_found_while_nothing_hangs_on_it_alone() -> None:
    """A door by which all came, and which nobody has left: its loss would cut nobody off, and hurt all."""
    ids = [PeerId(f"12D3KooW{n:044}") for n in range(40)]
    ring = {peer: (*(ids[(n + step) % 40] for step in (-2, -1, 1, 2)), ME) for n, peer in enumerate(ids)}
    everybody = {ME: fact(ME), **{peer: fact(ME, name=f"p{n}") for n, peer in enumerate(ids)}}
    answers = {peer: Answer(health(to=others)) for peer, others in ring.items()}
    at = look({"a": ""}, own=health(to=tuple(ids)), peers=everybody, answers=answers)
    assert "this peer has 40 links: a centre" in one(at).what
    assert one(at).settles


def test_who_has_too_few_links_is_named() -> None:
    ring = look({"a": "bd", "b": "ac", "c": "bd", "d": "ac"})
    found = [c for c in wrong(diagnose(ring)) if c.about in (ME, BOB, DAVE)]
    assert [c.what.split(" has ")[1] for c in found] == ["2 links, and 3 others are there"] * 3
    assert wrong(diagnose(look({"a": "bcd", "b": "acd", "c": "abd", "d": "abc"}))) == []


def test_where_not_all_were_asked_nobody_is_called_a_bridge() -> None:
    at = look({"a": "b", "b": "acd", "c": "b", "d": "b"}, unasked=900)
    assert not [c for c in wrong(diagnose(at)) if "goes through" in c.what or "star" in c.what]
    assert any("900 peers were not" in c.what for c in diagnose(full(unasked=900)))


def test_who_is_kept_out_and_why() -> None:
    at = full(kept_out={BOB: KeptOut(40.0, "garbage", 12)}, unreached={BOB: Unreached((), 20.0, "kept out")})
    assert "bob" in one(at).what
    assert "40 s more" in one(at).what
    assert "garbage" in one(at).what
    assert "12 times" in one(at).todo


@pytest.mark.parametrize(
    ("links", "cut"),
    [
        ({"a": "b", "b": "a"}, ""),
        ({"a": "b", "b": "ac", "c": "b"}, "b"),
        ({"a": "bc", "b": "ac", "c": "ab"}, ""),
        ({"a": "bc", "b": "acd", "c": "abd", "d": "bc"}, ""),
        ({"a": "bc", "b": "ac", "c": "abde", "d": "ce", "e": "cd"}, "c"),
        ({"a": "b", "b": "ac", "c": "bd", "d": "ce", "e": "d"}, "bcd"),
        ({"a": "b", "b": "a", "c": "de", "d": "ce", "e": "cd"}, ""),
        ({"a": "be", "b": "ac", "c": "bd", "d": "ce", "e": "da"}, ""),
        ({"a": "", "b": "c", "c": "b"}, ""),
    ],
)
def test_cut_peers_are_those_whose_loss_splits_their_neighbours(links: dict[str, str], cut: str) -> None:
    told = {PEER_OF[letter]: peers(others) for letter, others in links.items()}
    graph = graph_of(told, frozenset(NAMES))
    assert cut_peers(graph) == sorted(peers(cut))
    for peer in graph:
        assert (len(parts_without(graph, peer)) > 1) == (peer in cut_peers(graph))


def test_a_long_chain_needs_no_stack() -> None:
    chain = [PeerId(f"{n:05}") for n in range(5000)]
    told = {peer: chain[max(0, n - 1) : n + 2] for n, peer in enumerate(chain)}
    assert cut_peers(graph_of(told, frozenset(chain))) == chain[1:-1]


def test_a_link_that_only_one_end_has_counts_for_nothing() -> None:
    told = {ME: peers("bc"), BOB: peers("ac"), CAROL: peers("b")}
    assert one_sided(told) == [(ME, CAROL)]
    assert CAROL not in graph_of(told, frozenset(NAMES))[ME]
    at = look({"a": "bc", "b": "ac", "c": "b"})
    found = wrong(diagnose(at))
    assert {c.check for c in found} == {"links", "overlay"}
    assert all(c.settles for c in found)
    assert wrong(diagnose(full(), at)) == [], "it was up on both sides a moment later"
    assert wrong(diagnose(at, full())) == [], "it may be coming up just now"
    assert wrong(diagnose(at, at)) == found


def test_what_strangers_and_guests_claim_is_no_overlay() -> None:
    """A guest hangs on one peer by design; ids that nobody knows are only words."""
    at = look(
        {"a": "b", "b": "acd", "c": "b", "d": "b"}, peers={ME: fact(ME), BOB: fact(BOB), DAVE: fact(DAVE, guest=True)}
    )
    assert wrong(diagnose(at)) == []


def test_a_peer_that_hears_nobody() -> None:
    tried = {BOB: Unreached(("/ip4/10.0.0.2/tcp/4001",), 40.0, "connection refused")}
    at = look({"a": "", "b": ""}, unreached=tried)
    first, second = wrong(diagnose(at))
    assert "connected to nobody" in first.what
    assert "firewall" in first.todo
    assert "bob" in second.what
    assert "connection refused" in second.what


def test_alone_by_choice_is_a_remark() -> None:
    checks = diagnose(look({"a": ""}, peers={ME: fact(ME)}))
    assert wrong(checks) == []
    assert any("--bootstrap" in c.todo for c in checks)


def test_a_peer_that_is_away() -> None:
    links = {"a": "b", "b": "a", "c": ""}
    at = look(links, unreached={CAROL: Unreached((), 12.0, "no route")})
    assert "carol" in one(at).what
    assert "nobody who answers is connected" in one(at).what
    assert one(at).todo.startswith("start it")
    assert not one(at).settles
    flapping = look(links, unreached={CAROL: Unreached((), 0.5, "no route")})
    assert one(flapping).settles
    assert wrong(diagnose(full(), flapping)) == []


def test_a_peer_that_only_we_cannot_reach() -> None:
    at = look({"a": "b", "b": "ac", "c": "b"}, unreached={CAROL: Unreached((), 12.0, "timed out")})
    reach, overlay = wrong(diagnose(at))
    assert "others are connected to it" in reach.what
    assert "open its port" in reach.todo
    assert "bob" in overlay.what


def test_a_peer_that_is_connected_and_silent() -> None:
    at = full(answers={CAROL: Answer(health("ab"))}, silent={BOB: "no answer within 5 s"})
    assert one(at).check == "answers"
    assert "bob" in one(at).what
    assert "frozen" in one(at).todo
    assert not one(at).settles


def test_who_does_not_hear_our_announcements() -> None:
    at = full(answers=with_bob(heard=2))
    assert "bob" in one(at).what
    assert one(at).settles
    nobody = full(answers={BOB: Answer(health("ac", heard=2)), CAROL: Answer(health("ab", heard=0))})
    assert one(nobody).what == "nobody hears what this peer announces"
    assert one(full(announced=None)).check == "gossip"


GAP = Lacking(CAROL, 7, 40, 3)


@pytest.mark.parametrize(
    ("then", "now", "is_gap"),
    [
        (GAP, GAP, True),
        (GAP, Lacking(CAROL, 7, 40, 9), True),
        (GAP, Lacking(CAROL, 7, 60, 2), False),  # what is lacking now came since
        (GAP, None, False),
        (None, GAP, False),
        (Lacking(CAROL, 7, 40, 0), Lacking(CAROL, 7, 40, 0), False),
        (Lacking(ME, 7, 40, 3), Lacking(ME, 7, 40, 3), False),  # nobody knows better what we said
    ],
)
def test_a_gap_is_what_a_sync_does_not_close(then: Lacking | None, now: Lacking | None, is_gap: bool) -> None:
    before = full(answers=with_bob(lacking=(then,) if then else ()))
    after = full(answers=with_bob(lacking=(now,) if now else ()))
    found = wrong(diagnose(after, before))
    assert bool(found) == is_gap
    if is_gap:
        assert "of carol" in found[0].what
        assert "bob" in found[0].what
        assert found[0].todo


def test_live_events_that_do_not_come() -> None:
    then = full(answers=with_bob(running=1, events=50), heads={BOB: 10})
    assert one(then).settles
    made_more = with_bob(running=0, events=90)
    assert one(full(answers=made_more, heads={BOB: 10}), then).check == "events"
    assert wrong(diagnose(full(answers=made_more, heads={BOB: 60}), then)) == [], "it follows"
    idle = full(answers=with_bob(running=0, events=50), heads={})
    assert wrong(diagnose(idle)) == [], "made before we came: whoever wants them asks"


@pytest.mark.parametrize(
    ("offsets", "took", "said"),
    [
        ((4.9, -4.9), 0.0, None),
        ((9.0, 0.0), 0.0, "the clock of bob"),
        ((5.5, 0.0), 2.0, None),  # asking took so long that it may be 4.5 s
        ((-3600.0, -3601.0), 0.0, "the clock here is 3600 s ahead of most others'"),
        ((60.0, 61.0), 0.0, "the clock here is 60 s behind of most others'"),
    ],
)
def test_clocks(offsets: tuple[float, float], took: float, said: str | None) -> None:
    answers = {p: Answer(health(c), o, took) for p, c, o in zip((BOB, CAROL), ("ac", "ab"), offsets, strict=True)}
    found = wrong(diagnose(full(answers=answers)))
    assert len(found) == (said is not None)
    if said is not None:
        assert said.split(" most")[0].removesuffix(" of") in found[0].what
        assert "--since" in found[0].todo


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"lag": 0.08}, "loop", "80 ms"),
        ({"no_room": "100 MB of disk left"}, "disk", "100 MB of disk left"),
        ({"store": 0}, "store", "is gone"),
    ],
)
def test_a_host_in_trouble_here_or_there(changes: dict[str, Any], check: str, said: str) -> None:
    for at, name in ((full(own=health("bc", **changes)), "this peer"), (full(answers=with_bob(**changes)), "bob")):
        assert one(at).check == check
        assert said in one(at).what
        assert name in one(at).what
        assert one(at).todo


def test_a_peer_that_just_started_is_not_judged_by_its_lag() -> None:
    assert wrong(diagnose(full(answers=with_bob(lag=0.5, up=20.0)))) == []


def test_remarks_are_no_faults() -> None:
    bare = full(answers=with_bob(version="2"), entries=0, peers={p: fact(p, models=()) for p in (ME, BOB, CAROL)})
    remarks = [c for c in diagnose(bare) if c.todo]
    assert [c.check for c in remarks] == ["versions", "models", "footage"]
    assert all(c.ok for c in remarks)
    assert "2: bob" in remarks[0].what


def test_a_hundred_faults_of_one_sort_are_counted() -> None:
    ids = [PeerId(f"12D3KooW{n:044}") for n in range(100)]
    at = full(unreached={peer: Unreached((), 60.0, "refused") for peer in ids})
    found = wrong(diagnose(at))
    assert len(found) == 6
    assert found[-1].what == "95 more of the kind"
    new = full(unreached={peer: Unreached((), 0.1, "refused") for peer in ids})
    assert len(wrong(diagnose(new, new))) == 6, "counted at both looks"
