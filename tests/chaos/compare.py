"""Whether what a mesh found is what a plain loop finds: box for box, nothing missing, nothing twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Frames = Mapping[int, list[Any]]
"""Frame index -> [(label, score, box)], of frames with detections; as `tests.story.plain.detect_all` gives it."""


class Difference(NamedTuple):
    missing: list[str]
    """What may yet come."""
    wrong: list[str]
    """What will never be right: other boxes, a frame twice, what nobody asked for."""


def compare(
    events: Iterable[Mapping[str, Any]], expected: Mapping[str, Frames], holders: Mapping[str, int] | None = None
) -> Difference:
    """`expected`: by entry. `holders`, for `scope: every`: how many peers must each have found all of an entry."""
    found: dict[tuple[str, str], dict[int, list[Any]]] = defaultdict(dict)
    missing, wrong = [], []
    for event in events:
        entry, frame = str(event["entry"]), int(event["frame"])
        key = (entry, "" if holders is None else str(event["peer"]))
        if frame in found[key]:
            wrong.append(f"{entry}, frame {frame}: twice ({event['peer_name']})")
        found[key][frame] = [(d["label"], d["score"], list(d["box"])) for d in event["detections"]]
    for (entry, peer), frames in found.items():
        plain = expected.get(entry, {})
        where = f"{entry}{f' of …{peer[-6:]}' if peer else ''}"
        wrong += [f"{where}, frame {n}: not in the plain loop" for n in sorted(frames.keys() - plain.keys())]
        wrong += [
            f"{where}, frame {n}: {frames[n]}, plain loop: {plain[n]}"
            for n in sorted(frames.keys() & plain.keys())
            if frames[n] != plain[n]
        ]
        if lost := sorted(plain.keys() - frames.keys()):
            missing.append(f"{where}: {len(lost)} of {len(plain)} frames, the first is {lost[0]}")
    for entry in expected:
        have, want = sum(name == entry for name, _ in found), 1 if holders is None else holders[entry]
        if have < want:
            missing.append(f"{entry}: {have} of {want} results")
        elif have > want:
            wrong.append(f"{entry}: {have} results, {want} were wanted")
    return Difference(missing, wrong)
