"""Loaded models under a budget of memory: who is in use stays, who was not used for the longest time goes first.

Whatever is wanted runs in the end, so nothing deadlocks:

1. A model that is loaded is a lookup away.
2. For another, idle models go, the least recently used first, until there is room.
3. Where what is in use leaves no room, it is waited for, at most `patience` seconds.
4. A model that no budget has room for runs alone; one whose wait was in vain beside the others. Both are said.

All that a lease is about is taken at once: nobody holds one model while waiting for another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PATIENCE = 30.0
MAX_REMARKS = 100


class Lease(Generic[V]):
    """The use of what is loaded: it stays loaded until `end`, which takes `value` away. One of a value alone keeps
    nothing loaded.
    """

    def __init__(self, value: V, end: Callable[[], None] = lambda: None) -> None:
        self.value = value
        self._end: Callable[[], None] | None = end

    def end(self) -> None:
        """Whoever still refers to the value keeps its memory taken. Once is enough."""
        if (end := self._end) is not None:
            self._end = None
            del self.value
            end()

    def __enter__(self) -> V:
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Loaded(NamedTuple, Generic[K]):
    """What the pool says of a model."""

    key: K
    bytes: int
    idle: float | None
    """Seconds since its last use ended; None: it is in use."""


@dataclass(slots=True, eq=False)
class _Slot(Generic[V]):
    value: V
    bytes: int
    leases: int
    used: float


class Pool(Generic[K, V]):
    """Safe to use from several threads. One loads at a time; meanwhile what is loaded is had at once."""

    def __init__(
        self,
        load: Callable[[K], tuple[V, int]],
        estimate: Callable[[K], int],
        budget: int,
        *,
        say: Callable[[str], None] = lambda text: None,
        called: Callable[[K], str] = str,
        patience: float = PATIENCE,
    ) -> None:
        """`load` gives a model and the bytes it took, `estimate` bytes before it is loaded for the first time; both may
        raise. `say` hears of every model that goes over the budget, once; `called` is its name there.
        """
        self._load, self._estimate, self._say, self._called = load, estimate, say, called
        self.budget, self._patience = budget, patience
        self._slots: dict[K, _Slot[V]] = {}
        """The least recently used first."""
        self._leaving: set[_Slot[V]] = set()
        """Dropped while they were in use: their memory is taken until that ends."""
        self._bytes: dict[K, int] = {}
        """What each took when it was loaded before."""
        self._remarks: set[tuple[K, ...]] = set()
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    def lease(self, *keys: K) -> Lease[tuple[V, ...]]:
        """The use of all of them at once. What `load` and `estimate` raise."""
        if (lease := self._taken(keys)) is not None:
            return lease
        with self._turn:
            while (lease := self._taken(keys)) is None:
                with self._changed:
                    missing = next((key for key in keys if key not in self._slots), None)
                    if missing is None:
                        continue  # the last of them was offered meanwhile
                    known = self._bytes.get(missing)
                need = self._estimate(missing) if known is None else known
                self._make_room(need, keys)
                value, took = self._load(missing)
                with self._changed:
                    self._drop(missing)  # or it was offered meanwhile
                    self._put(missing, value, took)
                    self._evict(0, keys)
                    remark = self._remark(keys) if self._total() > self.budget else ""
                del value
                if remark:
                    self._say(f"{' and '.join(map(self._called, dict.fromkeys(keys)))} {remark}")
            return lease

    def has_room(self, *keys: K) -> bool:
        """Whether a lease of these would throw nothing out. What `estimate` raises."""
        with self._changed:
            missing = {key: self._bytes.get(key) for key in keys if key not in self._slots}
            total = self._total()
        needed = sum(self._estimate(key) if known is None else known for key, known in missing.items())
        return not missing or total + needed <= self.budget

    def offer(self, key: K, value: V, took: int) -> None:
        """Keep what was loaded elsewhere, where there is room; it takes the place of one that is here."""
        with self._changed:
            self._drop(key)
            if self._total() + took <= self.budget:
                self._put(key, value, took)

    def drop(self, key: K) -> None:
        """It is loaded anew at the next lease."""
        with self._changed:
            self._drop(key)

    def loaded(self) -> tuple[Loaded[K], ...]:
        """The most recently used first."""
        with self._changed:
            now = time.monotonic()
            slots = reversed(self._slots.items())
            return tuple(Loaded(k, s.bytes, None if s.leases else max(0.0, now - s.used)) for k, s in slots)

    @property
    def total(self) -> int:
        """Bytes of all that is loaded."""
        with self._changed:
            return self._total()

    # ---- with the lock held ------------------------------------------------------------------------------------------

    def _taken(self, keys: tuple[K, ...]) -> Lease[tuple[V, ...]] | None:
        with self._changed:
            if not all(key in self._slots for key in keys):
                return None
            slots = []
            for key in dict.fromkeys(keys):
                slot = self._slots[key] = self._slots.pop(key)
                slot.leases += 1
                slots.append(slot)
            return Lease(tuple(self._slots[key].value for key in keys), lambda: self._ended(keys, slots))

    def _ended(self, keys: tuple[K, ...], slots: list[_Slot[V]]) -> None:
        with self._changed:
            for slot in slots:
                slot.leases -= 1
                slot.used = time.monotonic()
                if not slot.leases:
                    self._leaving.discard(slot)
            slots.clear()
            self._evict(0, keys)  # not themselves: whoever used them may come again
            self._changed.notify_all()

    def _put(self, key: K, value: V, took: int) -> None:
        self._bytes[key] = took
        self._slots[key] = _Slot(value, took, 0, time.monotonic())

    def _drop(self, key: K) -> None:
        slot = self._slots.pop(key, None)
        self._bytes.pop(key, None)
        if slot is not None and slot.leases:
            self._leaving.add(slot)

    def _total(self) -> int:
        return sum(slot.bytes for slot in (*self._slots.values(), *self._leaving))

    def _evict(self, need: int, keep: tuple[K, ...]) -> None:
        for key, slot in list(self._slots.items()):
            if self._total() + need <= self.budget:
                return
            if not slot.leases and key not in keep:
                del self._slots[key]

    def _make_room(self, need: int, keep: tuple[K, ...]) -> None:
        """As far as there can be any before `patience` is over."""
        deadline = time.monotonic() + self._patience
        with self._changed:
            self._evict(need, keep)
            while self._total() + need > self.budget and self._others(keep):
                if not self._changed.wait(deadline - time.monotonic()):
                    return
                self._evict(need, keep)

    def _others(self, keep: tuple[K, ...]) -> bool:
        """Whether others are in use."""
        return bool(self._leaving) or any(slot.leases for key, slot in self._slots.items() if key not in keep)

    def _remark(self, keys: tuple[K, ...]) -> str:
        """Empty where it was made before."""
        if keys in self._remarks or len(self._remarks) == MAX_REMARKS:
            return ""
        self._remarks.add(keys)
        beside = "beside others that are in use" if self._others(keys) else "with no other loaded"
        memory = f"{_mb(self._total())} of {_mb(self.budget)} MB"
        return f"runs {beside}, over the memory for models: {memory} ([limits] model_memory_mb)"


def _mb(size: int) -> int:
    return -(-size // 2**20)
