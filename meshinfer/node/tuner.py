"""Where there is more than a CPU: each model is tried on every device, once, while work goes on on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from meshinfer.detect.card import ModelCard
from meshinfer.detect.preprocess import Image
from meshinfer.detect.providers import CPU, usable
from meshinfer.detect.shelf import Shelf
from meshinfer.detect.variants.trial import save_frames, try_aside
from meshinfer.detect.variants.tuning import Book, Try, Tuned, tune
from meshinfer.errors import ModelError

LOOK_EVERY: Final = 30.0
"""Seconds between two looks for models that were added."""


def drawn() -> Image:
    """A yard with people and vehicles in it."""
    from meshinfer.demo.world import Scene

    return Scene(10, night=False).frame(5.0)[0]


class Tuner:
    def __init__(
        self,
        book: Book,
        shelf: Shelf,
        threads: int,
        say: Callable[[str], None],
        try_: Try = try_aside,
        picture: Callable[[], Image] = drawn,
    ) -> None:
        self._book, self._shelf, self._threads, self._say, self._try = book, shelf, threads, say, try_
        self._picture = picture

    async def serve(self) -> None:
        if usable(self._book.machine.offered) == (CPU,):
            return
        while True:
            for card in await trio.to_thread.run_sync(self._shelf.runnable):
                if card.takes_series:
                    continue  # small, and fed with windows: the CPU does
                try:
                    tuned = await trio.to_thread.run_sync(self._tune, card, abandon_on_cancel=True)  # type: ignore[call-arg]  # newer than the stubs
                except ModelError as e:
                    if not await trio.to_thread.run_sync(self._shelf.holds, card.digest):
                        continue  # removed meanwhile
                    self._say(f"{card.reference} could not be tried on the devices here: {e}")
                    return
                if tuned is not None:
                    self._tell(card, tuned)
            await trio.sleep(LOOK_EVERY)

    def _tune(self, card: ModelCard) -> Tuned | None:
        """None where it was done before. Blocks; a child that it waits for ends with this process."""
        known = self._book.get(card.digest)
        if known is not None and known.tried:
            return None
        with tempfile.TemporaryDirectory(prefix="meshinfer-") as folder:
            frames = Path(folder) / "frames.npz"
            try:
                save_frames(frames, [self._picture()])
            except OSError as e:
                raise ModelError(f"{folder}: {e.strerror}") from None
            tuned = tune(self._shelf.path(card.digest), frames, self._book.machine, self._threads, self._try)
        self._book.put(card.digest, tuned)
        self._shelf.unload(card.digest)
        return tuned

    def _tell(self, card: ModelCard, tuned: Tuned) -> None:
        for short, why in tuned.refused.items():
            self._say(f"{card.reference} does not run on {short} here: {why}")
        if tuned.provider != CPU.short:
            self._say(f"{card.reference} runs on {tuned.provider} from now on: {tuned.fps:.0f} frames/s")
