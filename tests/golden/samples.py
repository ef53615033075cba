"""What the golden vectors are made of: one of each record and message, from fixed seeds.

`python -m tests.golden.samples` writes the JSON files anew. A vector that changes is another protocol: think first.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from meshinfer.mesh.identity import Identity
from meshinfer.model.bundle import CHUNK, Bundle
from meshinfer.model.catalog import Entry, SourceSummary, Unreadable
from meshinfer.model.channel import Channel, Trial, Version
from meshinfer.model.detection import Cursor, Detection, Event
from meshinfer.model.facts import (
    Cancel,
    Claim,
    Fact,
    Holding,
    Manifest,
    ModelRef,
    Outcome,
    Outcomes,
    PeerFact,
    Running,
    Skipped,
)
from meshinfer.model.ids import ContentId, ModelDigest, hash_of, task_id, unit_id
from meshinfer.model.job import Canary, Detect, JobOrder, JobSpec, Sample, Then, job_id, pack_spec, read_order
from meshinfer.model.record import Record
from meshinfer.model.selector import Selector
from meshinfer.model.verdict import Verdict
from meshinfer.schedule.sketch import sketch
from meshinfer.wire import messages as m
from meshinfer.wire.bundles import seal_bundle
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import pack
from meshinfer.wire.records import seal

HERE = Path(__file__).parent
SEED = bytes(range(32))
MESH = "golden"
IDENTITY = Identity.from_seed(SEED)
INCARNATION = 1_700_000_000_000
MODEL = ModelDigest(hash_of(b"model", digits=64))
OTHER_MODEL = ModelDigest(hash_of(b"other model", digits=64))
NEW_MODEL = ModelDigest(hash_of(b"new model", digits=64))
CONTENT = ContentId(hash_of(b"content"))
SPEC = JobSpec(
    "yolox_nano",
    name="people",
    on=Selector(kind="video", labels=("site=hamburg",)),
    sample=Sample(fps=2.0),
    detect=Detect(classes=("person",), min_score=0.5),
)
PACKED = pack_spec(SPEC)
ORDER = JobOrder(job_id(PACKED, MODEL, b"noncence"), PACKED, MODEL, b"noncence", 1_700_000_000.5)
TRIED = structs.replace(SPEC, model="yolox_nano:stable", canary=Canary(NEW_MODEL, (IDENTITY.peer_id,)))
STAGED = structs.replace(
    SPEC, then=Then("helmets", of=("person",), classes=("bare",), min_score=0.5, digest=OTHER_MODEL)
)
UNIT = unit_id(read_order(ORDER, IDENTITY.peer_id).work, CONTENT, 3, 960, owner=None)
TASK = task_id(UNIT, 1)
RAW = bytes.fromhex(TASK)


def records() -> dict[str, Record]:
    facts: dict[str, Fact] = {
        "peer": PeerFact(
            "dock",
            {"site": "hamburg"},
            (f"/ip4/10.0.0.1/tcp/4001/p2p/{IDENTITY.peer_id}",),
            "0.1.0",
            4,
            8192,
            ("CPUExecutionProvider",),
            (ModelRef("yolox_nano", MODEL, "1", 80, 64),),
        ),
        "source": SourceSummary(
            "cam", ("video",), {"site": "hamburg"}, 1, 0, 1024, 12.5, 1.5e9, 1.6e9, "d" * 32, sketch([CONTENT])
        ),
        "job": ORDER,
        "manifest": Manifest(ORDER.id, 0, 1, (Holding(bytes.fromhex(UNIT), 3),), 150),
        "claim": Claim(ORDER.id, (Running(RAW, 1),), 12, 3, 1.25, 2, "the disk is full"),
        "result": Outcomes(
            ORDER.id,
            (
                Outcome(RAW, True, 25, 7, 2.5, "e" * 32, epoch=1, reused=True),
                Outcome(bytes(16), False, 0, 0, 0.25, "", 2, "input", "cannot be read: truncated"),
                Outcome(bytes(15) + b"1", True, 1, 3, 0.5, "f" * 32, scores=(0, 0, 0, 1, 0, 0, 2), fallback="model"),
            ),
        ),
        "cancel": Cancel(ORDER.id, "enough"),
        "channel": Channel(
            "yolox_nano:stable",
            3,
            "try",
            Version(MODEL, "yolox_nano@1"),
            Version(OTHER_MODEL, "yolox_nano@0"),
            Trial(Version(NEW_MODEL, "yolox_nano@2"), (IDENTITY.peer_id,), 100, 600.0),
            "fewer cats",
            1_700_000_000.5,
        ),
    }
    return {
        kind: seal(fact, mesh=MESH, origin=IDENTITY.peer_id, incarnation=INCARNATION, seq=seq, sign=IDENTITY.sign)
        for seq, (kind, fact) in enumerate(facts.items(), 1)
    }


def works() -> list[dict[str, Any]]:
    """Jobs of one model, with a roll-out and with two models, and what the ids of their tasks are made of."""
    both = structs.replace(TRIED, then=structs.replace(STAGED.then, keep="second", margin=0.0))
    made = []
    for spec in (SPEC, TRIED, STAGED, both, structs.replace(STAGED, fresh=True)):
        packed = pack_spec(spec)
        order = JobOrder(job_id(packed, MODEL, b"noncence"), packed, MODEL, b"noncence", 0.0)
        made.append({**readable(order), "work": read_order(order, IDENTITY.peer_id).work})
    return made


def event(n: int, seen: tuple[Detection, ...]) -> Event:
    cursor, t = Cursor(IDENTITY.peer_id, INCARNATION, n), n / 2
    return Event(cursor, ORDER.id, TASK, "cam", "a.mp4", CONTENT, 15 * n, t, 640, 480, seen, 1.6e9 + t)


def sealed_model() -> bytes:
    """Of a file of a chunk and a byte, with a sidecar."""
    chunks = tuple(sha256(b"0" * n).digest() for n in (CHUNK, 1))
    bundle = Bundle("yolox_nano", "1", MODEL, CHUNK + 1, b'layout = "yolox"', chunks)
    return seal_bundle(bundle, IDENTITY.peer_id, IDENTITY.sign).sealed


def messages() -> dict[str, tuple[str, Any]]:
    """Name -> (its decoder, the message)."""
    me = IDENTITY.peer_id
    cancel = records()["cancel"].sealed
    vector = (m.Upto(me, INCARNATION, 7), m.Upto(me, INCARNATION - 1, 2, (4, 4, 7, 300)))
    of_jobs = (m.OfJob(ORDER.id, (m.Upto(me, INCARNATION, 3),)), m.OfJob("0" * 16, relay=True))  # type: ignore[arg-type]  # an id
    seen = (Detection("person", 0.9, (1.0, 2.5, 30.25, 40.0)), Detection("dog", 0.5, (0.0, 0.0, 8.0, 8.0)))
    packed = pack(INCARNATION, [event(n, seen[:n]) for n in (1, 2)])
    entry = Entry(CONTENT, "cam", "a.mp4", "video", {"site": "hamburg"}, 1024, 640, 480, 375, 30.0, 12.5, 1.6e9)
    return {
        "announcement": ("read_announcement", m.Announcement((cancel,))),
        "event_batch": ("read_event_batch", m.EventBatch(packed)),
        "have": ("read_sync", m.Have(vector, of_jobs, more=True)),
        "page": ("read_sync", m.Page((m.Aged(cancel, 1.5),))),
        "complete": ("read_sync", m.Complete(vector, of_jobs)),
        "replay": ("read_replay", m.Replay(after=1, incarnation=INCARNATION, job=ORDER.id)),
        "events": ("read_events", m.Events(packed)),
        "head": ("read_events", m.Head(INCARNATION, 2)),
        "results_of": ("read_results_of", m.ResultsOf(ORDER.id, 4)),
        "tasks": (
            "read_results",
            m.Tasks((m.TaskReport(TASK, "cam", "a.mp4", CONTENT, "done", 25, 7, "e" * 32, first=960, stop=1920),)),
        ),
        "picture": ("read_results", m.Picture("cam", "a.mp4", 15, b"\xff\xd8\xff\xd9")),
        "end": ("read_results", m.ResultsEnd(pixels_refused=True)),
        "ask": ("read_ask", m.Ask(spec=PACKED, model=MODEL)),
        "verdict": (
            "read_verdict",
            Verdict("runs", tasks=1, frames=25, skipped=(Skipped("kind is image, not video", 2),)),
        ),
        "catalog_of": ("read_catalog_of", m.CatalogOf("cam")),
        "catalog": ("read_catalog", m.CatalogPage((entry,), (Unreadable("cam", "b.mp4", "truncated"),))),
        "want_work": ("read_want_work", m.WantWork(ORDER.id, 4)),
        "give_work": ("read_give_work", m.GiveWork((RAW,))),
        "checkup": ("read_checkup", m.Checkup(vector)),
        "health": (
            "read_health",
            m.Health(
                1.7e9 + 0.25,
                "0.1.0",
                60.5,
                (me,),
                0.005,
                2**30,
                2**20,
                2,
                1,
                7,
                "100 MB of disk left",
                3,
                (m.Lacking(me, INCARNATION, 7, 2),),
            ),
        ),
        "want_model": ("read_want_model", m.WantModel(MODEL)),
        "seal": ("read_model_answer", m.ModelSeal(sealed_model(), more=True)),
        "none": ("read_model_answer", m.NoModel("it does not hold the model")),
        "want_chunk": ("read_want_chunk", m.WantChunk(1)),
        "part": ("read_part", m.Part(12)),
        "parted": ("read_parted", m.Parted(agreed=True)),
        "infer_on": ("read_infer_on", m.InferOn("yolox_nano", 4096, Detect(("person",), 0.5))),
        "inferred": (
            "read_inferred",
            m.Inferred("", "yolox_nano", MODEL, 640, 480, (Detection("person", 0.75, (1.0, 2.0, 3.5, 4.0)),), 0.025),
        ),
    }


def readable(value: Any) -> Any:
    """As JSON has it; byte strings as hex digits after `hex:`."""
    match value:
        case bytes():
            return "hex:" + value.hex()
        case dict():
            return {key: readable(item) for key, item in value.items()}
        case list() | tuple():
            return [readable(item) for item in value]
        case msgspec.Struct():
            return readable(msgspec.to_builtins(value, builtin_types=(bytes,)))
    return value


def vectors() -> dict[str, dict[str, Any]]:
    """File name -> its contents."""
    return {
        "records.json": {
            "seed": SEED.hex(),
            "origin": IDENTITY.peer_id,
            "mesh": MESH,
            "records": {
                name: {
                    "sealed": r.sealed.hex(),
                    "incarnation": r.incarnation,
                    "seq": r.seq,
                    "key": r.key,
                    "body": readable(r.fact),
                }
                for name, r in records().items()
            },
            "works": works(),
        },
        "messages.json": {
            name: {"decoder": decoder, "encoded": encode(message).hex(), "decoded": readable(message)}
            for name, (decoder, message) in messages().items()
        },
    }


if __name__ == "__main__":
    for name, contents in vectors().items():
        (HERE / name).write_text(json.dumps(contents, indent=1) + "\n")
