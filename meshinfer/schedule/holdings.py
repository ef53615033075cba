"""What lies at this peer, by name and by content, and how a job picks from it."""

from __future__ import annotations

from collections import Counter

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Skipped
from meshinfer.model.ids import ContentId
from meshinfer.model.job import JobSpec
from meshinfer.schedule.stimuli import CatalogChanged

MAX_SKIPPED = 16
"""Reasons that a verdict lists."""


class Holdings:
    """The peer's own catalog. Several entries may be copies of one content."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.copies: dict[ContentId, set[tuple[str, str]]] = {}
        self.scanned = False
        """Whether the first look at the sources is over."""

    def apply(self, change: CatalogChanged) -> list[ContentId]:
        """Take in a difference; the contents it touches, each once."""
        touched: dict[ContentId, None] = {}
        for key in change.removed:
            if old := self.entries.get(key):
                self._remove(old)
                touched[old.content] = None
        for entry in change.added:
            if old := self.entries.get((entry.source, entry.name)):
                self._remove(old)
                touched[old.content] = None
            self.entries[entry.source, entry.name] = entry
            self.copies.setdefault(entry.content, set()).add((entry.source, entry.name))
            touched[entry.content] = None
        self.scanned = self.scanned or change.complete
        return list(touched)

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.source, entry.name]
        copies = self.copies[entry.content]
        copies.discard((entry.source, entry.name))
        if not copies:
            del self.copies[entry.content]

    def pick(self, spec: JobSpec, content: ContentId, series: bool | None = None) -> Entry | None:
        """The first copy of this content that the job is about. `series`: as in `why_not`."""
        for key in sorted(self.copies.get(content, ())):
            if why_not(spec, self.entries[key], series) is None:
                return self.entries[key]
        return None

    def picked(self, spec: JobSpec, series: bool | None = None) -> list[Entry]:
        """One entry for each distinct content that the job is about, by name."""
        entries = [entry for content in self.copies if (entry := self.pick(spec, content, series))]
        return sorted(entries, key=lambda entry: (entry.source, entry.name))

    def skipped(self, spec: JobSpec, series: bool | None = None) -> tuple[Skipped, ...]:
        """Why entries are left out, the commonest reason first."""
        reasons = Counter(why for entry in self.entries.values() if (why := why_not(spec, entry, series)) is not None)
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Skipped(why[:512], n) for why, n in ordered[:MAX_SKIPPED])


def why_not(spec: JobSpec, entry: Entry, series: bool | None) -> str | None:
    """None where the job is about the entry, else why it is not.

    `series`: whether the job's model looks at series; False: at pictures; None: nobody here knows.
    """
    if (why := spec.on.why_not(entry)) is not None:
        return why
    if series is None or series == (entry.kind == "series"):
        return None
    article = "an" if entry.kind == "image" else "a"
    return f"is {article} {entry.kind}; the model {spec.model} looks at {'series' if series else 'pictures'}"
