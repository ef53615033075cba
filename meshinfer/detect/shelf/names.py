"""What may name a model, and which model a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from meshinfer.detect.card import ModelCard
from meshinfer.detect.shelf.folder import Held
from meshinfer.errors import ModelError

MAX_NAMED = 20

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9._+-]{0,32}")
_HEX = re.compile(r"[0-9a-f]{8,64}")


def check_name(name: str, version: str) -> None:
    """Raises ModelError."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} cannot name a model: use a-z, 0-9 and . _ - (at most 64), e.g. --name yard-v2")
    if not _VERSION.fullmatch(version):
        raise ModelError(f"{version!r} cannot be a version: use letters, digits and . _ + - (at most 32)")


def some(names: Sequence[str]) -> str:
    """As many as one cares to read."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def find(held: Iterable[Held], reference: str) -> ModelCard:
    """The model called `name`, `name@version`, `sha256:hex` or at least 8 hex digits. Raises ModelError.

    What the owner put here goes before what was fetched: others choose the names of theirs.
    """
    models = sorted(held, key=lambda h: (h.card.name, h.card.version, h.card.digest))
    digits = reference.removeprefix("sha256:")
    matches = (
        [h for h in models if h.card.reference == reference]
        or [h for h in models if h.card.name == reference]
        or [h for h in models if _HEX.fullmatch(digits) and h.card.digest.startswith(digits)]
    )
    if len(matches) > 1 and len({h.card.reference for h in matches}) == 1:
        matches = [h for h in matches if h.origin != "fetched"] or matches
    if len(matches) == 1:
        return matches[0].card
    if matches:
        which = ", ".join(f"{h.card.reference} (sha256:{h.card.digest[:12]})" for h in matches)
        raise ModelError(f"{reference!r} is several models here: {which}: say which")
    known = [h.card.reference for h in models]
    close = get_close_matches(reference, known, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    here = f"Here are: {some(known)}" if known else "This peer holds none: `meshinfer models add FILE` adds one"
    raise ModelError(f"no model {reference!r}.{hint} {here}")
