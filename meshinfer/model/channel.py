"""Channels: names such as `yard-detector:stable` that stand for a model, and what is said when one moves.

Whoever moves a channel states a `Channel` with a generation above all it knows. Of what peers have stated the strongest
counts (`strength`), a function of the set alone, so peers that know the same agree, in whatever order it came.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from meshinfer.model.ids import Digest, ModelDigest, Name, Peer, PeerId, Real, Seconds, Text, hash_of

_NAME = r"[a-z0-9][a-z0-9._-]{0,63}:[a-z0-9][a-z0-9._-]{0,31}"
_CHANNEL = re.compile(_NAME)

ChannelName = Annotated[str, Meta(pattern=rf"^{_NAME}\Z", max_length=97)]

MAX_GENERATION = 2**53
MAX_CANARIES = 64
"""Peers that one roll-out tries its candidate on: they are named in the record, and in every job."""

Move = Literal["try", "lapse", "promote", "set", "rollback"]

_WEIGHT: dict[Move, int] = {"try": 0, "lapse": 1, "promote": 2, "set": 3, "rollback": 4}
"""Of two moves of one generation, made without knowing of each other, the later in this list counts: an end before a
beginning, evidence before the lack of it, a person before the clock, and what is known to be good before all."""


class Version(Struct, frozen=True, array_like=True):
    """A model, and what people call it."""

    model: Digest
    reference: Name


class Trial(Struct, frozen=True):
    """A roll-out: a candidate is tried on some peers."""

    candidate: Version
    peers: Annotated[tuple[Peer, ...], Meta(min_length=1, max_length=MAX_CANARIES)]
    permille: Annotated[int, Meta(ge=1, le=1000)]
    """The share that was asked for."""
    seconds: Seconds
    """How long: a duration, as clocks differ."""


class Channel(Struct, frozen=True, omit_defaults=True):
    """Where a channel stands: the body of a `channel` record."""

    name: ChannelName
    generation: Annotated[int, Meta(ge=1, le=MAX_GENERATION)]
    """Above that of every state its author knew."""
    move: Move
    """What led here: `try` (a roll-out began), `promote` (it proved good), `lapse` (it showed too little), `rollback`
    (it proved bad, or somebody wanted back), `set` (somebody moved it at once)."""
    stable: Version
    before: Version | None = None
    """What a rollback goes back to."""
    trial: Trial | None = None
    """The roll-out that is under way (`try`), or that ended with this."""
    why: Text = ""
    stated: Real = 0.0
    """Unix seconds by its author's clock: for people. Nothing is decided by it."""

    @property
    def trying(self) -> Trial | None:
        """The roll-out that is under way."""
        return self.trial if self.move == "try" else None


def is_channel(reference: str) -> bool:
    """Whether a job's `model` is the name of a channel: no model's name has a colon."""
    return _CHANNEL.fullmatch(reference) is not None and not reference.startswith("sha256:")


def strength(origin: PeerId, state: Channel) -> tuple[int, int, PeerId, bytes]:
    """What is stated last counts; at once, what is safer; else any, the same everywhere."""
    return state.generation, _WEIGHT[state.move], origin, msgspec.msgpack.encode(state)


def placed(before: Channel | None, name: str, version: Version, *, why: str, stated: float) -> Channel:
    """The channel stands for this model from now on, everywhere."""
    old = before.stable if before is not None else None
    return Channel(name, _next(before), "set", version, old, None, why, stated)


def tried(before: Channel, trial: Trial, *, why: str, stated: float) -> Channel:
    """A roll-out begins."""
    return Channel(before.name, _next(before), "try", before.stable, before.before, trial, why, stated)


def ended(before: Channel, move: Move, *, why: str, stated: float) -> Channel:
    """The roll-out under way ends: all take the candidate, or none. Raises ValueError where none is under way."""
    trial = before.trying
    if trial is None:
        raise ValueError("no roll-out is under way")
    stable, old = (trial.candidate, before.stable) if move == "promote" else (before.stable, before.before)
    return Channel(before.name, _next(before), move, stable, old, trial, why, stated)


def returned(before: Channel, *, why: str, stated: float) -> Channel:
    """Back to what it stood for before. Raises ValueError where nothing was."""
    if before.before is None:
        raise ValueError("it stood for nothing else before")
    return Channel(before.name, _next(before), "rollback", before.before, before.stable, None, why, stated)


def _next(before: Channel | None) -> int:
    return 1 if before is None else min(MAX_GENERATION, before.generation + 1)


def canaries(name: str, candidate: ModelDigest, permille: int, peers: list[PeerId]) -> tuple[PeerId, ...]:
    """Who tries a candidate: this share of the peers, at least one, at most MAX_CANARIES, by the hash of all three."""
    count = min(MAX_CANARIES, max(1, -(-len(peers) * permille // 1000)))
    ranked = sorted(peers, key=lambda peer: hash_of(b"canary", name.encode(), candidate.encode(), peer.encode()))
    return tuple(ranked[:count])
