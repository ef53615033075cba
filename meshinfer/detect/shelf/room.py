"""What goes when a model comes and the budget is used up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from meshinfer.detect.shelf.folder import Held
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest


def to_evict(
    held: Iterable[Held],
    size: int,
    budget: int,
    spare: Collection[ModelDigest],
    last_used: Callable[[ModelDigest], int],
) -> list[ModelDigest]:
    """The least recently used of the fetched models, until `size` more bytes are within the `budget`.

    Neither pinned ones nor those of `spare`. Raises ModelError where all others are not enough.
    """
    fetched = [h for h in held if h.origin == "fetched"]
    over = sum(h.card.bytes for h in fetched) + size - budget
    going = []
    for one in sorted(fetched, key=lambda h: last_used(h.card.digest)):
        if over <= 0:
            break
        if not one.pinned and one.card.digest not in spare:
            going.append(one.card.digest)
            over -= one.card.bytes
    if over > 0:
        raise ModelError(
            f"no room for a model of {_mb(size)}: fetched models may take {_mb(budget)}, and those that are pinned or "
            "in use leave too little; raise budget_mb under [models], or `meshinfer models unpin` or `rm` one"
        )
    return going


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
