"""What a peer holds, what of it may run, and what goes when room is needed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

import msgspec

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import load_detector
from meshinfer.detect.isolated import AnyDetector, Isolated
from meshinfer.detect.memory import budget as memory_budget
from meshinfer.detect.memory import floor, measured
from meshinfer.detect.onnx import Session
from meshinfer.detect.pool import Lease, Loaded, Pool
from meshinfer.detect.shelf import names
from meshinfer.detect.shelf.bundling import bundle_of
from meshinfer.detect.shelf.folder import Folder, Held, Origin
from meshinfer.detect.shelf.intake import Intake, Tried, alike
from meshinfer.detect.shelf.reading import read, read_embedded
from meshinfer.detect.shelf.room import to_evict
from meshinfer.detect.shelf.trust import Trust
from meshinfer.detect.sidecar import read_bounded, sidecar_path
from meshinfer.errors import ModelDamaged, ModelError
from meshinfer.model.bundle import Bundle, Vouched
from meshinfer.model.ids import ModelDigest, PeerId

EMBEDDED = Path(__file__).parents[2] / "demo" / "yard-demo.onnx"
"""The drawn world's detector, which comes with the package: on every shelf, and trusted as the package is."""

BUDGET = 4096 * 2**20

Open = Callable[[ModelDigest, bytes], Session]

Key = tuple[ModelDigest, bool]
"""A loaded model, and whether it is in a process of its own."""


def untried(model: Path) -> None:
    """No trial before a model is loaded."""


def on_cpu(digest: ModelDigest, model: bytes) -> Session:
    return Session(model)


class Shelf:
    """Safe to use from several threads. Every method may read files; `add`, `take_in` and `get` also load a model.

    Nothing that no trusted peer vouches for, and nothing whose bytes have changed, reaches the runtime.
    """

    def __init__(
        self,
        folder: Path,
        signer: PeerId,
        sign: Callable[[bytes], bytes],
        *,
        signers: Iterable[PeerId] = (),
        budget: int = BUDGET,
        memory: int | None = None,
        trial: Callable[[Path], None] = untried,
        opener: Open = on_cpu,
        isolate: bool = False,
        embedded: Path | None = EMBEDDED,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`signer`, `sign`: this peer's key, for what is added here. `signers`: whom it trusts besides.

        `budget`: bytes of fetched models; `memory`: MiB for loaded ones, None: a share of the machine's. `trial` raises
        ModelError for a model that must not be loaded. `opener` decides what models run on. `isolate`: all of
        them in processes of their own. `say` hears of old and damaged files, and of models that no memory is left for,
        once.
        """
        self._folder = Folder(folder)
        self._trust = Trust(signer, sign, signers)
        self._budget, self._trial, self._open, self._say = budget, trial, opener, say
        self._isolate = isolate
        self._intake = Intake(self._folder, trial, isolate)
        self._embedded = embedded if embedded is not None and embedded.is_file() else None
        self._models: dict[ModelDigest, Held] | None = None
        self._damaged: dict[ModelDigest, str] = {}
        self._pool = Pool(self._load, self._weight, memory_budget(memory), say=say, called=self._called)
        self._lock = threading.RLock()

    # ---- what is there -----------------------------------------------------------------------------------------------

    def list(self) -> tuple[ModelCard, ...]:
        """By name and version, those that may not run too. Loads no model, but for one whose card is missing."""
        with self._lock:
            return tuple(sorted((h.card for h in self._all().values()), key=lambda c: (c.name, c.version, c.digest)))

    def runnable(self) -> tuple[ModelCard, ...]:
        """Those of `list` that may run here, what was wanted last first."""
        refused = self.refused()
        cards = [card for card in self.list() if card.digest not in refused]
        return tuple(sorted(cards, key=lambda card: -self._folder.last_used(card.digest)))

    def refused(self) -> dict[ModelDigest, str]:
        """What lies here and may not run: why, and what would change it."""
        with self._lock:
            return {digest: why for digest, held in self._all().items() if (why := self.why_refused(held))}

    def find(self, reference: str) -> ModelCard:
        """The model called `name`, `name@version`, `sha256:hex` or at least 8 hex digits. Raises ModelError."""
        with self._lock:
            return names.find(self._all().values(), reference)

    def holds(self, digest: ModelDigest) -> bool:
        with self._lock:
            return digest in self._all()

    def held(self, digest: ModelDigest) -> Held:
        """Raises ModelError. Waits for nobody who adds or removes one: the engine asks with its own lock held."""
        if (held := self._all().get(digest)) is None:
            raise ModelError(f"no model sha256:{digest[:12]} here")
        return held

    def path(self, digest: ModelDigest) -> Path:
        """Of its ONNX file. Raises ModelError."""
        self.held(digest)
        path = self._folder.onnx(digest)
        if self._embedded is not None and digest == self._embedded_digest and not path.exists():
            return self._embedded
        return path

    def vouched(self, digest: ModelDigest) -> tuple[Vouched, ...]:
        """Who vouches for it: what others can be offered, nothing of what is known to be damaged. Raises ModelError."""
        held = self.held(digest)
        if digest in self._damaged:
            return ()
        if held.vouched or held.origin != "embedded":
            return held.vouched
        return (self._trust.seal(bundle_of(self.path(digest), held.card.name, held.card.version)),)

    @property
    def me(self) -> PeerId:
        """Who signs what is added here."""
        return self._trust.me

    def trusts(self, signer: PeerId) -> bool:
        return signer in self._trust

    def why_untrusted(self, held: Held) -> str:
        """Why none of its seals counts here, and what would change it; "" where one does."""
        if held.card.digest == self._embedded_digest:
            return ""
        return self._trust.why_refused(held.card.reference, [v.signer for v in held.vouched])

    def why_refused(self, held: Held) -> str:
        """Why it may not run, whoever is asked, and what would change that; "" where it may."""
        return self.why_untrusted(held) or self._damaged.get(held.card.digest, "")

    # ---- what comes --------------------------------------------------------------------------------------------------

    def add(
        self, file: Path, name: str | None = None, version: str | None = None, sidecar: Path | None = None
    ) -> ModelCard:
        """Try a model, copy it and its sidecar in, and vouch for it. Adding one that is there renames it.

        `sidecar`: else the one beside the file. Raises ModelError: a file that is no runnable detector, a bad name, a
        name that another model of this peer's has.
        """
        name, version = file.stem.lower() if name is None else name, version or ""
        names.check_name(name, version)
        settings = read_bounded(sidecar or sidecar_path(file), may_miss=sidecar is None)
        with self._intake.copied(file, name, version, settings) as tried, self._lock:
            owned = [h.card for h in self._all().values() if h.origin != "fetched"]
            for other in owned:
                if other.reference == tried.bundle.reference and other.digest != tried.bundle.digest:
                    raise ModelError(
                        f"{other.reference} is another model here (sha256:{other.digest[:12]}): "
                        "give --name or --version"
                    )
            return self._install(tried, (self._trust.seal(tried.bundle),), "added")

    def take_in(self, file: Path, vouched: tuple[Vouched, ...]) -> ModelCard:
        """A model fetched from others becomes part of the shelf; `file` is moved. All `vouched` are genuine.

        Raises ModelError, and leaves `file`: nobody trusted vouches for it, it is not what was vouched for, or it does
        not run here.
        """
        good = [v for v in vouched if v.signer in self._trust]
        if not good:
            reference = vouched[0].bundle.reference if vouched else file.name
            raise ModelError(self._trust.why_refused(reference, [v.signer for v in vouched]))
        with self._intake.claimed(file, good[0].bundle) as tried:
            card = self._install(tried, tuple(v for v in vouched if alike(v.bundle, tried.bundle)), "fetched")
        with suppress(OSError):
            file.unlink()
        return card

    def _install(self, tried: Tried, seals: tuple[Vouched, ...], origin: Origin) -> ModelCard:
        """Raises ModelError. One that is there keeps its other signers, and stays the owner's if it was."""
        card, digest, pinned = tried.card, tried.bundle.digest, False
        with self._lock:
            if known := self._all().get(digest):
                seals, pinned = (*known.vouched, *seals), known.pinned
                if origin == "fetched":
                    card, origin = known.card, known.origin
            held = Held(card, self._trust.best(seals), origin, pinned)
            self._folder.install(tried.staged, held)
            self._all()[digest] = held
            self._damaged.pop(digest, None)
            if tried.loaded:
                self._pool.offer((digest, False), *tried.loaded)
            self.used(digest)
            return card

    # ---- what runs ---------------------------------------------------------------------------------------------------

    def lease(self, *digests: ModelDigest, isolate: bool = False) -> Lease[tuple[AnyDetector, ...]]:
        """The use of these models, loaded where they are not yet, and shared with others that use them; with `isolate`
        in processes of their own. Blocks while what is in use leaves no room (`detect/pool.py`).

        Raises ModelError: not here, nobody trusted vouches for it; ModelDamaged.
        """
        for digest in digests:
            with self._lock:
                if why := self.why_refused(self.held(digest)):
                    raise (ModelDamaged if digest in self._damaged else ModelError)(why)
            self.used(digest)
        return self._pool.lease(*((digest, isolate or self._isolate) for digest in digests))

    def has_room(self, *digests: ModelDigest, isolate: bool = False) -> bool:
        """Whether a lease of these would throw nothing out of the memory; of what is not here, that it would not."""
        with suppress(ModelError):
            return self._pool.has_room(*((digest, isolate or self._isolate) for digest in digests))
        return True

    def get(self, digest: ModelDigest, isolate: bool = False) -> AnyDetector:
        """As `lease`, for whoever keeps it: it stays in the memory though the pool may have thrown it out."""
        with self.lease(digest, isolate=isolate) as (detector,):
            return detector

    def unload(self, digest: ModelDigest) -> None:
        """The next `lease` loads it anew; who has it keeps it."""
        self._pool.drop((digest, False))

    def loaded(self) -> tuple[Loaded[Key], ...]:
        """What is in memory, the most recently used first."""
        return self._pool.loaded()

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes that loaded models take, and may take."""
        return self._pool.total, self._pool.budget

    def _load(self, key: Key) -> tuple[AnyDetector, int]:
        digest, isolate = key
        self.check_bytes(digest)
        card = self.held(digest).card
        path, name, version = self.path(digest), card.name, card.version
        if isolate:
            return measured(lambda: Isolated(path, name=name, version=version))
        opened = partial(self._open, digest)
        return measured(lambda: load_detector(path, name=name, version=version, open_session=opened))

    def _weight(self, key: Key) -> int:
        return floor(self.held(key[0]).card.bytes)

    def _called(self, key: Key) -> str:
        held = self._all().get(key[0])
        return held.card.reference if held else key[0][:12]

    def check_bytes(self, digest: ModelDigest) -> Bundle:
        """What lies there. Raises ModelDamaged, and refuses the model from now on, where it is not what it was."""
        card = self.held(digest).card
        try:
            bundle = bundle_of(self.path(digest), card.name, card.version)
            why = "" if bundle.digest == digest else f"{card.reference}: its file or sidecar has changed on disk"
        except ModelError as e:
            why = f"{card.reference}: {e}"
        with self._lock:
            if not why:
                self._damaged.pop(digest, None)
                return bundle
            why += f"; `meshinfer models rm {card.reference}`, and add or fetch it again"
            if digest not in self._damaged:
                self._say(why)
            self._damaged[digest] = why
        raise ModelDamaged(why)

    def try_out(self, digest: ModelDigest) -> None:
        """Load it apart from what runs, as if it came just now. Raises ModelError."""
        held, path = self.held(digest), self.path(digest)
        if why := self.why_refused(held):
            raise ModelError(why)
        self._trial(path)
        if not self._isolate:
            load_detector(path, name=held.card.name, version=held.card.version)

    def unsound_seals(self, digest: ModelDigest) -> int:
        """How many seals lie with it that are damaged, forged, or another model's."""
        return self._folder.unsound(digest)

    # ---- what goes ---------------------------------------------------------------------------------------------------

    def used(self, digest: ModelDigest) -> None:
        """It is wanted: of the fetched ones it goes last."""
        now = time.time_ns()
        with suppress(OSError):  # the embedded one's file is elsewhere, and a disk may be full
            os.utime(self._folder.onnx(digest), ns=(now, now))

    def make_room(self, size: int, spare: Collection[ModelDigest] = ()) -> None:
        """Remove the least recently used of the fetched models until `size` more bytes are within the budget.

        Spares pinned models and those of `spare`, such as open jobs'. Raises ModelError where that is not enough:
        nothing is removed then.
        """
        with self._lock:
            for digest in to_evict(self._all().values(), size, self._budget, spare, self._folder.last_used):
                self.remove(digest)

    def remove(self, digest: ModelDigest) -> ModelCard:
        """Raises ModelError: not here, or it comes with the package."""
        with self._lock:
            card = self.held(digest).card
            if digest == self._embedded_digest:
                raise ModelError(f"{card.reference} comes with meshinfer: it is on every shelf, and stays")
            self._folder.remove(digest)
            del self._all()[digest]
            for isolate in (False, True):
                self._pool.drop((digest, isolate))
            self._damaged.pop(digest, None)
            return card

    def pin(self, digest: ModelDigest, pinned: bool = True) -> ModelCard:
        """A pinned model stays, though it was fetched. Raises ModelError."""
        with self._lock:
            held = msgspec.structs.replace(self.held(digest), pinned=pinned)
            self._folder.write(held)
            self._all()[digest] = held
            return held.card

    # ---- the folder, read once ---------------------------------------------------------------------------------------

    def _all(self) -> dict[ModelDigest, Held]:
        if (models := self._models) is not None:
            return models
        with self._lock:
            if self._models is None:
                self._models = self._read()
            return self._models

    def _read(self) -> dict[ModelDigest, Held]:
        self._folder.sweep()
        models: dict[ModelDigest, Held] = {}
        for digest in self._folder.digests():
            try:
                held, remark = read(self._folder, digest, self._trust)
                models[held.card.digest] = held
            except ModelError as e:
                remark = str(e)
            if remark:
                self._say(remark)
        ours = self._embedded_digest
        if self._embedded is not None and ours is not None and ours not in models:
            models[ours] = read_embedded(self._folder, ours, self._embedded)
        return models

    @cached_property
    def _embedded_digest(self) -> ModelDigest | None:
        return None if self._embedded is None else bundle_of(self._embedded, self._embedded.stem, "").digest
