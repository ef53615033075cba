"""What this peer says of itself in its `peer` record."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

import meshinfer
from meshinfer.detect.card import ModelCard
from meshinfer.detect.onnx import providers
from meshinfer.mesh.api import Mesh
from meshinfer.model.facts import MAX_MODELS, ModelRef, PeerFact
from meshinfer.model.ids import ModelDigest


def own_fact(name: str, labels: dict[str, str], mesh: Mesh, cards: tuple[ModelCard, ...], *, guest: bool) -> PeerFact:
    return PeerFact(
        name or f"{platform.node().split('.')[0] or 'peer'}-{mesh.me[-4:]}",
        labels,
        mesh.addresses[:16],
        meshinfer.__version__,
        os.cpu_count() or 1,
        memory_mb(),
        providers(),
        model_refs(cards, {}),
        guest,
    )


def model_refs(cards: tuple[ModelCard, ...], speeds: Mapping[ModelDigest, int]) -> tuple[ModelRef, ...]:
    """By name, of the first MAX_MODELS. `speeds`: their classes (`fps_class`), as far as known."""
    told = sorted(cards[:MAX_MODELS], key=lambda card: (card.name, card.version, card.digest))
    return tuple(
        ModelRef(card.name, card.digest, card.version, len(card.classes), speeds.get(card.digest, 0)) for card in told
    )


def unheard_of(cards: tuple[ModelCard, ...]) -> str:
    """What the owner of a full shelf should know; "" where it is not."""
    if len(cards) <= MAX_MODELS:
        return ""
    return f"others hear of {MAX_MODELS} of the {len(cards)} models here, those used last, and can fetch no others"


def memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
