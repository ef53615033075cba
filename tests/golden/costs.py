"""What records and vectors weigh, for docs/COST.md: `python -m tests.golden.costs` writes its table anew."""

from __future__ import annotations

import re
from pathlib import Path

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.facts import Cancel, Claim, Fact, Manifest, Outcome, Outcomes
from meshinfer.model.ids import ContentId, JobId
from meshinfer.schedule.sketch import sketch
from meshinfer.wire import messages as m
from meshinfer.wire.codec import encode
from meshinfer.wire.records import seal
from tests.golden.samples import IDENTITY, INCARNATION, MESH, ORDER, RAW, records

DOC = Path(__file__).resolve().parents[2] / "docs/COST.md"
_TABLE = re.compile(r"<!-- costs -->\n(?:\|.*\n)*")


def _sealed(fact: Fact) -> int:
    """A number of some thousands: most are."""
    return len(
        seal(fact, mesh=MESH, origin=IDENTITY.peer_id, incarnation=INCARNATION, seq=5000, sign=IDENTITY.sign).sealed
    )


def _upto(*runs: int) -> int:
    return len(encode(m.Upto(IDENTITY.peer_id, INCARNATION, 5000, runs)))


def costs() -> dict[str, tuple[str, int]]:
    """Symbol -> (what it is, bytes)."""
    job: JobId = ORDER.id
    contents = sketch(ContentId(f"{n:032x}") for n in range(100))
    source = SourceSummary("cam", ("video",), {"site": "hamburg"}, 100, 0, 2**30, 3e3, 1.5e9, 1.6e9, "d" * 32, contents)
    done = Outcome(RAW, True, 900, 1200, 12.5, "e" * 32)
    claim, manifest = _sealed(Claim(job, (), 900, 1200, 12.5)), _sealed(Manifest(job, 0, 1, ()))
    result = _sealed(Outcomes(job, (done,)))
    return {
        "p": ("a `peer` record", len(records()["peer"].sealed)),
        "s": ("a `source` record of 100 files", _sealed(source)),
        "j": ("a `job` record", len(records()["job"].sealed)),
        "x": ("a `cancel` record", _sealed(Cancel(job, "enough"))),
        "m": ("a page of a `manifest`, without its tasks", manifest),
        "mt": ("a task in it", (_sealed(Manifest(job, 0, 1, (RAW,) * 100)) - manifest) // 100),
        "c": ("a `claim`, without its tasks", claim),
        "ct": ("a task in it", (_sealed(Claim(job, (RAW,) * 10, 900, 1200, 12.5)) - claim) // 10),
        "r": ("a `result` with one outcome", result),
        "ro": ("each further outcome", (_sealed(Outcomes(job, (done,) * 101)) - result) // 100),
        "v": ("a log in a vector", _upto()),
        "vr": ("each run of numbers beyond its n", (_upto(6000, 7000, 8000, 9000) - _upto()) // 2),
        "vj": ("a job in a vector, without its logs", len(encode(m.OfJob(job)))),
    }


def with_table(text: str) -> str:
    rows = [f"| {symbol} | {what} | {size} |\n" for symbol, (what, size) in costs().items()]
    return _TABLE.sub("<!-- costs -->\n| | | bytes |\n|---|---|---|\n" + "".join(rows), text)


if __name__ == "__main__":
    DOC.write_text(with_table(DOC.read_text()))
