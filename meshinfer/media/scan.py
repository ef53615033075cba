"""Which files lie in a source. Only names and sizes: no file is opened here.

Rules
 1. Nothing outside the source: a link whose target lies elsewhere is listed as unreadable, and not opened.
 2. A link to a folder is not followed (no circles): if it stays in the source, its files are found where they are.
 3. Hidden names, and names of unfinished files, are passed over.
 4. The order is that of the names, folder by folder: the same on every run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from meshinfer.media.source import SourceSpec, is_within
from meshinfer.model.catalog import Unreadable

MAX_FILES: Final = 1_000_000
MAX_DEPTH: Final = 32
MAX_NAME: Final = 1024
UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".swp", "~")


class Seen(NamedTuple):
    """A file as the folder lists it: when these are equal, its content is taken to be."""

    size: int
    mtime_ns: int


class Walk(NamedTuple):
    files: dict[str, Seen]
    """By entry name."""
    refused: dict[str, Unreadable]
    whole: bool
    """False where the source itself could not be read: then nothing is known of what is in it."""


def walk(spec: SourceSpec, check: Callable[[], object] = lambda: None, *, max_files: int = MAX_FILES) -> Walk:
    """Blocks. `check` is called once a folder, and may raise to stop. Raises nothing else."""
    found = _Walk(spec, check, max_files)
    try:
        if spec.path.is_file():
            info = spec.path.stat()
            found.files[spec.path.resolve().name] = Seen(info.st_size, info.st_mtime_ns)
        else:
            found.folder(os.path.realpath(spec.path), "", 0)
    except OSError as e:
        reason = f"the source cannot be read: {e.strerror}"
        return Walk({}, {".": Unreadable(spec.name, ".", reason)}, whole=False)
    return Walk(found.files, found.refused, whole=True)


class _Walk:
    def __init__(self, spec: SourceSpec, check: Callable[[], object], max_files: int) -> None:
        self._spec, self._check, self._max_files = spec, check, max_files
        self._root = os.path.realpath(spec.path)
        self.files: dict[str, Seen] = {}
        self.refused: dict[str, Unreadable] = {}

    def folder(self, path: str, prefix: str, depth: int) -> None:
        """`prefix`: what entry names begin with here. Raises OSError where the folder cannot be listed."""
        self._check()
        with os.scandir(path) as listing:
            items = sorted(listing, key=lambda item: item.name)
        for item in items:
            if item.name.startswith(".") or item.name.lower().endswith(UNFINISHED):
                continue
            name = prefix + item.name
            if not _is_plain(name):
                self._refuse(name, f"its name is not valid UTF-8, or longer than {MAX_NAME} characters")
                continue
            try:
                self._item(item, name, depth)
            except OSError as e:
                self._refuse(name, f"cannot be read: {e.strerror}")
            if len(self.files) >= self._max_files:
                self._refuse(".", f"more than {self._max_files} files: the rest is not read")
                return

    def _item(self, item: os.DirEntry[str], name: str, depth: int) -> None:
        if item.is_symlink():
            target = os.path.realpath(item.path)
            if not is_within(self._root, target) and target != self._root:
                self._refuse(name, "a link that leads out of the source")
                return
            if item.is_dir():
                return
        elif item.is_dir():
            if depth >= MAX_DEPTH:
                self._refuse(name, f"deeper than {MAX_DEPTH} folders")
            else:
                self.folder(item.path, name + "/", depth + 1)
            return
        info = item.stat()
        if stat.S_ISREG(info.st_mode):
            self.files[name] = Seen(info.st_size, info.st_mtime_ns)

    def _refuse(self, name: str, reason: str) -> None:
        # Never more rows for what is refused than for what could be there.
        if len(self.refused) < self._max_files:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")[:MAX_NAME]
            self.refused[shown] = Unreadable(self._spec.name, shown, reason)


def _is_plain(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return len(name) <= MAX_NAME
