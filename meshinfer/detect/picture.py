"""Runs of a model over grey pictures, which show how it is to be fed and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.feed import read_feed
from meshinfer.detect.layouts import Layout, Probe
from meshinfer.detect.onnx import Session
from meshinfer.detect.preprocess import MULTIPLE, Recipe
from meshinfer.detect.sidecar import Sidecar
from meshinfer.errors import ModelError


class PictureModel:
    """A session, what goes in, and which of what comes out counts."""

    def __init__(self, session: Session, sidecar: Sidecar, names: int | None) -> None:
        """`names`: how many classes are named. Raises ModelError: inputs or a sidecar that no layout goes with."""
        self.feed = read_feed(session.inputs, session.metadata, sidecar)
        self._session, self._sidecar, self._names = session, sidecar, names
        self._counting = list(range(len(session.outputs)))
        if sidecar.outputs:
            if missing := [name for name in sidecar.outputs if name not in session.outputs]:
                known = ", ".join(session.outputs[:40])
                raise ModelError(f"its sidecar names the output {missing[0]!r}, but the file has: {known}")
            self._counting = [session.outputs.index(name) for name in sidecar.outputs]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs that count, floats as float32. Raises ModelError."""
        outputs = self._session.run(feeds)
        return [_plain(outputs[place]) for place in self._counting]

    def probe(self, width: int = 0, height: int = 0) -> Probe:
        """What comes out for a grey picture, of the size it is run at or another one. Raises ModelError."""
        feed = self.feed
        width, height = width or feed.width, height or feed.height
        return Probe(
            width,
            height,
            tuple(self.run(feed.feeds(feed.grey(width, height), width, height))),
            tuple(self._session.outputs[place] for place in self._counting),
            self._session.metadata,
            self._names,
            frozenset(i.name for i in feed.extra),
            feed.uint8,
            feed.free,
            self._sidecar,
        )

    def recipe(self, layout: Layout) -> Recipe:
        """Of the layout, unless the sidecar overrides it; a model that takes bytes scales them itself."""
        said = self._sidecar
        if not self.feed.uint8:
            return layout.recipe.overridden(said)
        if said.scale or said.mean or said.std:
            raise ModelError(
                "its input is uint8, pixels as they are: take `scale`, `mean` and `std` out of its sidecar"
            )
        return Recipe(said.colour or layout.recipe.colour, 1.0, fit=said.fit or layout.recipe.fit)

    def at(self, width: int, height: int, like: Layout) -> Layout | None:
        """The layout `like` for pictures of another size; None where the model takes none or reads otherwise."""
        try:
            probe = self.probe(width, height)
            kind = type(like)
            with np.errstate(all="ignore"):
                if not kind.fits(probe) or not (self._sidecar.layout or kind.shows(probe)):
                    return None
                layout = kind(probe)
        except ModelError:
            return None
        return layout if layout.classes == like.classes else None

    def is_rectangular(self, layout: Layout, recipe: Recipe) -> bool:
        """Whether frames can go in without most of their padding: shown at an odd multiple of the coarsest grid.

        A model that wants multiples of 64 fails there; one that has its size built in puts out the same as before.
        """
        width, height = self.feed.width, self.feed.height
        if not self.feed.free or not self._sidecar.rectangular or recipe.fit == "stretch":
            return False
        if width % MULTIPLE or height % MULTIPLE or height < 3 * MULTIPLE:
            return False
        count = height // MULTIPLE
        return self.at(width, (count - 1 if count % 2 == 0 else count - 2) * MULTIPLE, layout) is not None


def _plain(output: object) -> NDArray[Any]:
    if not isinstance(output, np.ndarray):
        raise ModelError(f"puts out a {type(output).__name__} where an array was expected")
    return output.astype(np.float32, copy=False) if output.dtype.kind == "f" else output
