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

    def pick(self, spec: JobSpec, content: ContentId) -> Entry | None:
        """The first copy of this content that the job is about."""
        for key in sorted(self.copies.get(content, ())):
            if spec.on.why_not(self.entries[key]) is None:
                return self.entries[key]
        return None

    def picked(self, spec: JobSpec) -> list[Entry]:
        """One entry for each distinct content that the job is about, by name."""
        entries = [entry for content in self.copies if (entry := self.pick(spec, content))]
        return sorted(entries, key=lambda entry: (entry.source, entry.name))

    def skipped(self, spec: JobSpec) -> tuple[Skipped, ...]:
        """Why entries are left out, the commonest reason first."""
        reasons = Counter(why for entry in self.entries.values() if (why := spec.on.why_not(entry)) is not None)
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Skipped(why[:512], n) for why, n in ordered[:MAX_SKIPPED])
