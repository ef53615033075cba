"""The bytes themselves, pinned: a peer of another version, or in another language, reads and writes exactly these."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshinfer.model.facts import KINDS
from meshinfer.wire import messages as wire
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import unpack
from meshinfer.wire.records import unseal
from tests.golden import samples, tables
from tests.property.strategies import ON_THE_WIRE, structs

RECORDS: dict[str, Any] = json.loads((samples.HERE / "records.json").read_text())
MESSAGES: dict[str, Any] = json.loads((samples.HERE / "messages.json").read_text())


def test_there_is_a_vector_of_every_record_and_message() -> None:
    assert RECORDS["records"].keys() == samples.records().keys() == KINDS.keys()
    assert MESSAGES.keys() == samples.messages().keys()
    assert {v["decoder"] for v in MESSAGES.values()} == {name for name in vars(wire) if name.startswith("read_")}


@pytest.mark.parametrize("kind", RECORDS["records"])
def test_a_golden_record(kind: str) -> None:
    vector = RECORDS["records"][kind]
    made = samples.records()[kind]
    assert made.sealed.hex() == vector["sealed"]
    read = unseal(bytes.fromhex(vector["sealed"]), mesh=RECORDS["mesh"])
    assert read == made
    assert (read.kind, read.origin, read.incarnation, read.seq, read.key) == (
        kind,
        RECORDS["origin"],
        vector["incarnation"],
        vector["seq"],
        vector["key"],
    )
    assert samples.readable(read.fact) == vector["body"]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_golden_message(name: str) -> None:
    vector = MESSAGES[name]
    decoder, message = samples.messages()[name]
    assert encode(message).hex() == vector["encoded"]
    read = getattr(wire, decoder)(bytes.fromhex(vector["encoded"]))
    assert read == message
    assert samples.readable(read) == vector["decoded"]


def test_a_job_and_its_work_have_the_ids_they_always_had() -> None:
    """Of one model, with a roll-out, with two models: what is not asked for is in no hash."""
    assert samples.works() == RECORDS["works"]
    assert RECORDS["works"][0]["id"] == RECORDS["records"]["job"]["body"]["id"] == "0b2bb20c1955cda9"
    assert len({job["work"] for job in RECORDS["works"]}) == len(RECORDS["works"])


def test_events_come_out_of_their_pack_as_they_were() -> None:
    batch = wire.read_event_batch(bytes.fromhex(MESSAGES["event_batch"]["encoded"]))
    first, second = unpack(batch.pack, samples.IDENTITY.peer_id)
    assert (first.cursor.n, first.t, first.wall, len(first.detections)) == (1, 0.5, 1.6e9 + 0.5, 1)
    assert (second.frame, second.entry, second.width) == (30, "a.mp4", 640)
    assert second.detections[0].box == (1.0, 2.5, 30.25, 40.0)
    assert [(d.label, d.score) for d in second.detections] == [("person", 0.9), ("dog", 0.5)]


def test_the_documented_tables_are_the_types() -> None:
    text = tables.DOC.read_text()
    assert tables.with_tables(text) == text, "run: python -m tests.golden.tables"
    on_the_wire = {part.cls.__name__ for kind in ON_THE_WIRE for part in structs(kind)}
    assert on_the_wire == tables.named(text)


def test_the_documented_record_is_the_vector() -> None:
    text = tables.DOC.read_text()
    spelled = text[text.index("### A record, spelled out") :]
    assert samples.ORDER.id in spelled
    assert samples.IDENTITY.peer_id in spelled
    assert bytes.fromhex(RECORDS["records"]["cancel"]["sealed"])[4:].startswith(bytes.fromhex("97a6676f6c64656e"))
