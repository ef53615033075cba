"""How the models of a peer are opened: each where it was found to run best, with the CPU to fall back on."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from meshinfer.detect.onnx import Session
from meshinfer.detect.providers import CPU, named
from meshinfer.detect.variants.trial import Create
from meshinfer.detect.variants.tuning import Book, Tuned
from meshinfer.detect.variants.wrapped import Spared
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest


class Opener:
    """Opens models. A device that fails, now or later, is not asked again until the machine changes."""

    def __init__(self, book: Book, on_notice: Callable[[str], None], create: Create = Session) -> None:
        """`on_notice` is told of a device that failed, in any thread."""
        self._book, self._on_notice, self._create = book, on_notice, create

    def __call__(self, digest: ModelDigest, model: bytes) -> Session:
        """`model`: the bytes of its file. Raises ModelError where the CPU cannot run it either."""
        tuned = self._book.get(digest)
        if tuned is None or tuned.provider == CPU.short:
            return self._create(model, CPU)

        def spare() -> Session:
            return self._create(model, CPU)

        def failed(why: str) -> None:
            self._strike(digest, tuned, why)

        try:
            inner = self._create(model, named(tuned.provider))
        except (ModelError, KeyError) as e:
            failed(str(e))
            return spare()
        return Spared(inner, spare, failed)

    def _strike(self, digest: ModelDigest, tuned: Tuned, why: str) -> None:
        struck = replace(tuned, provider=CPU.short, fps=0.0, refused={**tuned.refused, tuned.provider: why[:300]})
        notice = f"model sha256:{digest[:12]} goes on with the CPU: {tuned.provider} {why}"
        try:
            self._book.put(digest, struck)
        except ModelError as e:
            notice += f" (and this cannot be kept in mind: {e})"
        self._on_notice(notice)
