"""Packed events: what comes out is what went in, in packs that fit their message."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshinfer.model.detection import Cursor, Detection, Event
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import packs, unpack
from meshinfer.wire.messages import EventBatch, read_event_batch
from tests.property.strategies import PEERS

LIMIT = 4096
ME = PEERS[0].peer_id
hex_digits = st.text("0123456789abcdef", min_size=32, max_size=32)
pixels = st.integers(0, 400_000).map(lambda n: n / 100)
detections = st.builds(
    Detection,
    st.sampled_from(["person", "dog", "\N{GRINNING FACE}" * 64]) | st.text(max_size=8),
    st.integers(0, 10_000).map(lambda n: n / 10_000),
    st.tuples(pixels, pixels, pixels, pixels),
)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """A run of one peer's log, its numbers as detectors round them."""
    tasks = draw(
        st.lists(st.tuples(hex_digits, hex_digits, st.integers(-2_000_000_000, 2_000_000_000)), min_size=1, max_size=3)
    )
    out = []
    for n in range(1, draw(st.integers(1, 12)) + 1):
        task, content, captured = draw(st.sampled_from(tasks))
        t = draw(st.integers(0, 10_000_000)) / 1000
        wall = round(captured + t, 3) if captured % 2 else None
        seen = tuple(draw(st.lists(detections, max_size=4)))
        cursor = Cursor(ME, 3, n)
        out.append(Event(cursor, "0" * 16, task, "cam", "ä.mp4", content, n, t, 640, 480, seen, wall))  # type: ignore[arg-type]  # ids as text
    return out


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(events())
def test_events_come_out_as_they_went_in(log: list[Event]) -> None:
    out: list[Event] = []
    for pack in packs(3, log, LIMIT):
        data = encode(EventBatch(pack))
        assert len(data) <= LIMIT + 64
        out += unpack(read_event_batch(data).pack, ME)
    assert out == log
