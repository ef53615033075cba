"""One file of a source -> an entry, a reason why it is none, or nothing (no footage)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from meshinfer.errors import MediaError
from meshinfer.media.hashing import content_id
from meshinfer.media.probe import probe
from meshinfer.media.scan import Seen
from meshinfer.media.series import series_format
from meshinfer.media.sniff import HEAD, expected_kind, sniff
from meshinfer.media.source import SourceSpec
from meshinfer.model.catalog import Entry, Unreadable

MAX_REASON = 500


class Verdict(NamedTuple):
    """What a file turned out to be."""

    name: str
    seen: Seen
    what: Entry | Unreadable | None
    """An entry without labels; None: no footage."""
    final: bool = True
    """False: not a matter of its content, so it is looked at again even if it does not change."""


def examine(spec: SourceSpec, name: str, seen: Seen, check: Callable[[], object]) -> Verdict:
    """Blocks, for as long as hashing the file takes. Raises only what `check` raises."""

    def unreadable(reason: str, *, final: bool = True, waiting: bool = False) -> Verdict:
        return Verdict(name, seen, Unreadable(spec.name, name, reason[:MAX_REASON], waiting), final)

    path = spec.locate(name)
    if path is None:
        return Verdict(name, seen, None, final=False)  # gone since it was listed
    try:
        with path.open("rb") as file:
            if _seen(os.fstat(file.fileno())) != seen:
                return unreadable("still being written", final=False, waiting=True)
            head = file.read(HEAD)
            kind = sniff(head, name) or ("series" if spec.kind == "series" and series_format(head) else None)
            if kind is None:
                expected = expected_kind(name)
                if expected is None or not spec.takes(expected):
                    return Verdict(name, seen, None)
                return unreadable(f"no {expected} of a known format" if seen.size else "is empty")
            if not spec.takes(kind):
                return Verdict(name, seen, None)
            probed = probe(path, kind, name, check)
            content = content_id(file, check)
        if _seen(path.stat()) != seen:
            return unreadable("still being written", final=False, waiting=True)
    except MediaError as e:
        return unreadable(str(e))
    except OSError as e:
        return unreadable(f"cannot be read: {e.strerror}", final=False)
    return Verdict(
        name,
        seen,
        Entry(
            content,
            spec.name,
            name,
            kind,
            {},
            seen.size,
            probed.width,
            probed.height,
            probed.frames,
            probed.fps,
            probed.duration,
            probed.captured,
        ),
    )


def _seen(info: os.stat_result) -> Seen:
    return Seen(info.st_size, info.st_mtime_ns)
