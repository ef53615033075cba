"""What a peer says about a model it holds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from meshinfer.model.ids import Digest, Name, reference_of


class ModelCard(Struct, frozen=True):
    """A model that this peer can run."""

    name: Name
    version: Annotated[str, Meta(max_length=32)]
    """May be empty."""
    digest: Digest
    layout: str
    width: int
    height: int
    """Of its input, in pixels; samples and channels of a window where it takes series."""
    classes: tuple[str, ...]
    bytes: int
    licence: str
    notices: tuple[str, ...]
    """What was assumed, for the user to judge."""
    rectangular: bool = False
    """Frames go in with little padding: `width` and `height` are what their input has at most."""

    @property
    def takes_series(self) -> bool:
        """Whether it looks at windows of series; all others look at pictures."""
        return self.layout.startswith("series")

    @property
    def reference(self) -> str:
        return reference_of(self.name, self.version)
