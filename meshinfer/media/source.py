"""A source: a named folder (or one file) that this peer reads. Nothing outside it is ever read on its behalf."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from meshinfer.errors import ConfigError
from meshinfer.model.catalog import Kind


class SourceSpec(Struct, frozen=True):
    """What the owner said. Only the name, kinds and labels are told to others, never the path."""

    name: str
    path: Path
    labels: dict[str, str] = {}
    kind: Kind | None = None
    """Files of other kinds are no footage of this source. None: videos and images. Series are read only where a source
    says so: folders of footage often hold logs and tables that nobody means."""

    def takes(self, kind: Kind) -> bool:
        return kind == self.kind if self.kind else kind != "series"

    @property
    def root(self) -> Path:
        """The real folder that entry names start from: the source's own, or the one its only file lies in."""
        real = self.path.resolve()
        return real.parent if real.is_file() else real

    def locate(self, name: str) -> Path | None:
        """The real path of entry `name`, links resolved; None where it is gone or no longer lies in the source."""
        try:
            root = self.root
            real = (root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle, before Python 3.13
            return None
        return real if is_within(str(root), str(real)) else None


def is_within(root: str, path: str) -> bool:
    """Both real paths."""
    return path.startswith(root.rstrip(os.sep) + os.sep)


def check_sources(specs: Iterable[SourceSpec]) -> None:
    """Raises ConfigError for a source that cannot be read now, and for two of one name."""
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise ConfigError(f"two sources are called {spec.name}: give each a name of its own")
        seen.add(spec.name)
        if not spec.path.exists():
            raise ConfigError(f"source {spec.name}: there is no {spec.path}; check the path")
        if not (spec.path.is_dir() or spec.path.is_file()):
            raise ConfigError(f"source {spec.name}: {spec.path} is neither a folder nor a file")
        if not os.access(spec.path, os.R_OK | (os.X_OK if spec.path.is_dir() else 0)):
            raise ConfigError(f"source {spec.name}: {spec.path} is not readable: check its owner and permissions")
