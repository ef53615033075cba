"""What is known of one source: its entries, what of it cannot be read, and what is still to be looked at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from meshinfer.media.examine import Verdict
from meshinfer.media.scan import Seen, Walk
from meshinfer.media.sniff import expected_kind
from meshinfer.media.source import SourceSpec
from meshinfer.model.catalog import Entry, SourceSummary, Unreadable
from meshinfer.model.ids import digest_of
from meshinfer.model.series import MAX_RATE

Known = tuple[int, int, Entry | Unreadable]
"""Bytes, mtime in nanoseconds, and what the file of that size and time turned out to be."""

RETRY_LOOKS = 10
"""What failed for reasons outside the file (permissions, a failing disk) is tried again after so many looks."""


class Look(NamedTuple):
    """What one walk found against what was known."""

    cached: list[Verdict]
    todo: dict[str, Seen]
    """New or changed, and settled: to be examined."""
    waiting: dict[str, Seen]
    """New or changed, and perhaps still being written."""
    gone: list[str]
    refused: dict[str, Unreadable]
    forgotten: list[str]
    """Names in the cache whose files are gone."""


class Unlisted(NamedTuple):
    entries: list[Entry]
    """Those that are gone or have changed."""
    unreadable: tuple[Unreadable, ...]
    """Newly listed as such."""


class Holding:
    """One source. `look` runs in a thread, one at a time; everything else in the trio thread."""

    def __init__(self, spec: SourceSpec, labels: dict[str, str], settle: float) -> None:
        self.spec = spec
        self.labels = {**labels, **spec.labels}
        self.entries: dict[str, Entry] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.version = 0
        """Grows with every change of the two."""
        self.summary: SourceSummary | None = None
        self.summary_of = -1
        """The version that `summary` was made of."""
        self.walked = False
        self._settle = settle
        self._settled: dict[str, Seen] = {}
        self._since: dict[str, tuple[Seen, float]] = {}
        self._retry: dict[str, tuple[Seen, int]] = {}
        self._looks = 0
        self._refused: dict[str, Unreadable] = {}
        self._known: dict[str, Known] = {}

    def remember(self, known: dict[str, Known]) -> None:
        """What was found out earlier: the next look takes it over where size and time are still the same."""
        self._known = known

    @property
    def is_blank(self) -> bool:
        """At the start, and when a disk was away."""
        return not self._settled

    def look(self, walk: Walk, wall: float, now: float) -> Look:
        """`wall`: Unix seconds; `now`: monotonic seconds."""
        files, self._looks = walk.files, self._looks + 1
        cached: list[Verdict] = []
        todo: dict[str, Seen] = {}
        since, self._since = self._since, {}
        for name, seen in files.items():
            if self._settled.get(name) == seen:
                continue
            size, mtime_ns, what = self._known.get(name, (-1, -1, None))
            if what is not None and (size, mtime_ns) == seen:
                cached.append(Verdict(name, seen, self._labelled(what)))
                continue
            failed, again = self._retry.get(name, (None, 0))
            if failed == seen and self._looks < again:
                continue
            before, first = since.get(name, (None, now))
            first = first if before == seen else now
            # The second condition is for files whose times are in the future, or were set by whoever copies them.
            if wall - seen.mtime_ns / 1e9 >= self._settle or now - first >= self._settle:
                todo[name] = seen
            else:
                self._since[name] = (seen, first)
        gone = [n for n in [*self._settled, *self._retry, *since] if n not in files]
        # An empty folder may be a disk that is not mounted: what was known of its files is kept for when they are back.
        known, self._known = self._known, {}
        forgotten = sorted({*gone, *known}.difference(files)) if files else []
        waiting = {name: seen for name, (seen, _) in self._since.items()}
        return Look(cached, todo, waiting, gone, walk.refused, forgotten)

    def apply_look(self, look: Look) -> Unlisted:
        """Books what is gone, has changed or is refused. Verdicts may have come in since the look: those count."""
        changed = [
            n for found in (look.todo, look.waiting) for n, seen in found.items() if not self.is_settled(n, seen)
        ]
        gone = [entry for n in (*look.gone, *changed) if (entry := self.entries.pop(n, None)) is not None]
        for name in look.gone:
            self._settled.pop(name, None)
            self._retry.pop(name, None)
            self.unreadable.pop(name, None)
        for name in self._refused.keys() - look.refused.keys():
            self.unreadable.pop(name, None)
        self._refused = look.refused
        # Whatever else lies in a folder, a log say, may be written to all day: it is no footage, and not listed.
        waiting = [
            Unreadable(self.spec.name, name, "still being written", waiting=True)
            for name in look.waiting
            if (kind := expected_kind(name)) is not None and self.spec.takes(kind)
        ]
        listed = [u for u in (*look.refused.values(), *waiting) if self.unreadable.get(u.name) != u]
        self.unreadable.update((u.name, u) for u in listed)
        if gone or listed or look.gone:
            self.version += 1
        return Unlisted(gone, tuple(listed))

    def apply(self, verdicts: Iterable[Verdict]) -> tuple[list[Entry], list[Unreadable]]:
        """Returns new entries, and what is newly unreadable."""
        added: list[Entry] = []
        listed: list[Unreadable] = []
        for name, seen, what, final in verdicts:
            if final:
                self._settled[name] = seen
                self._retry.pop(name, None)
            else:
                self._retry[name] = (seen, self._looks + RETRY_LOOKS)
            before = self.unreadable.pop(name, None)
            self.entries.pop(name, None)
            if isinstance(what, Entry):
                self.entries[name] = what
                added.append(what)
            elif what is not None:
                self.unreadable[name] = what
                if what != before:
                    listed.append(what)
        self.version += 1
        return added, listed

    def label(self, verdict: Verdict) -> Verdict:
        return verdict if verdict.what is None else verdict._replace(what=self._labelled(verdict.what))

    def is_settled(self, name: str, seen: Seen) -> bool:
        """Whether `name` has been examined as it was `seen`."""
        return self._settled.get(name) == seen

    def is_unchanged(self, name: str, path: Path) -> bool:
        """Whether the file at `path` is still the one that was examined as `name`. Asks the file system."""
        try:
            info = path.stat()
        except OSError:
            return False
        return self._settled.get(name) == (info.st_size, info.st_mtime_ns)

    def _labelled(self, what: Entry | Unreadable) -> Entry | Unreadable:
        if not isinstance(what, Entry):
            return what
        if what.kind == "series" and not what.fps and (rate := labelled_rate(self.labels)):
            return replace(what, labels=self.labels, fps=rate, duration=what.frames / rate)
        return replace(what, labels=self.labels)


def labelled_rate(labels: dict[str, str]) -> float:
    """Samples a second that the label `rate` gives for series that do not say it themselves; 0 where it gives none."""
    try:
        rate = float(labels.get("rate", 0))
    except ValueError:
        return 0.0
    return rate if 0 < rate <= MAX_RATE else 0.0


def summarise(spec: SourceSpec, labels: dict[str, str], entries: list[Entry], unreadable: int) -> SourceSummary:
    """What others learn of a source. `sketch` is left to whoever sends it."""
    dated = [e for e in entries if e.captured is not None]
    return SourceSummary(
        spec.name,
        (spec.kind,) if spec.kind else tuple(sorted({e.kind for e in entries})),
        labels,
        len(entries),
        unreadable,
        sum(e.bytes for e in entries),
        sum(e.duration for e in entries),
        min((e.captured for e in dated if e.captured is not None), default=None),
        max((e.captured + e.duration for e in dated if e.captured is not None), default=None),
        digest_of(sorted(e.content for e in entries)),
    )
