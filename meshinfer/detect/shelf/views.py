"""What is said of a model on the shelf: plain dicts, ready for JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from meshinfer.detect.anatomy import anatomy
from meshinfer.detect.card import ModelCard
from meshinfer.detect.shelf.shelf import Shelf
from meshinfer.errors import ModelError

View = dict[str, Any]


def model_view(shelf: Shelf, card: ModelCard) -> View:
    """The card, where it came from, who signed it, and why it may not run, if so."""
    held = shelf.held(card.digest)
    return {
        **msgspec.to_builtins(card),
        "origin": held.origin,
        "pinned": held.pinned,
        "signers": [_signer(shelf, v.signer) for v in held.vouched],
        "refused": shelf.why_refused(held),
    }


def loaded_view(shelf: Shelf) -> View:
    """What of it is in memory."""
    references = {card.digest: card.reference for card in shelf.list()}
    used, budget = shelf.memory
    return {
        "models": [
            {
                "reference": references.get(digest, f"sha256:{digest[:12]}"),
                "digest": digest,
                "isolated": isolated,
                "bytes": size,
                "idle": None if idle is None else round(idle, 1),
            }
            for (digest, isolated), size, idle in shelf.loaded()
        ],
        "model_memory": {"bytes": used, "budget": budget},
    }


def _signer(shelf: Shelf, signer: Any) -> View:
    return {"peer": signer, "own": signer == shelf.me, "trusted": shelf.trusts(signer)}


def described(shelf: Shelf, card: ModelCard) -> View:
    """`model_view` and what the file is made of. A damaged file has `unreadable` in the place of that."""
    path = shelf.path(card.digest)
    view = {**model_view(shelf, card), "path": str(path)}
    try:
        return {**view, **msgspec.to_builtins(anatomy(path.read_bytes()))}
    except OSError as e:
        return {**view, "unreadable": f"{path}: {e.strerror}"}
    except ModelError as e:
        return {**view, "unreadable": str(e)}
