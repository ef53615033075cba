"""Where every channel stands: the strongest of what peers have stated (model/channel.py).

What nobody states any more, because its author was forgotten or has lost its store, still counts here until somebody
states it again: a channel must not jump back because a laptop was retired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshinfer.model.channel import Channel, strength
from meshinfer.model.ids import ModelDigest, PeerId


class Said(NamedTuple):
    """What a peer has stated of a channel."""

    origin: PeerId
    state: Channel
    born: float
    """Local time at which it was first stated anywhere, as far as it is known."""


class Channels:
    """Bounded by the log: it holds at most a thousand of each peer's records."""

    def __init__(self) -> None:
        self._said: dict[str, dict[PeerId, Said]] = {}
        self._unsaid: dict[str, Said] = {}
        """What was the strongest when its author ceased to say it."""
        self._leads: dict[str, Said] = {}
        self._trying: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether a roll-out is under way, or something is to be stated again."""
        return bool(self._trying or self._unsaid)

    def heard(self, origin: PeerId, state: Channel, born: float) -> None:
        said = self._said.setdefault(state.name, {})
        before, now = said.get(origin), Said(origin, state, born)
        said[origin] = now
        if before is not None and before.state.generation > state.generation:  # it has lost its store
            self._keep(before)
        leads = self._leads.get(state.name)
        if leads is None or leads.origin == origin or state.name in self._unsaid or _strength(now) > _strength(leads):
            self._settle(state.name)

    def forget(self, peer: PeerId) -> None:
        """Nothing of this peer is kept any more."""
        for name, said in self._said.items():
            if (before := said.pop(peer, None)) is not None and self._leads[name].origin == peer:
                self._keep(before)
                self._settle(name)

    def get(self, name: str) -> Said | None:
        """Where the channel stands; `born` is that of the first who stated it so."""
        leads = self._leads.get(name)
        if leads is None:
            return None
        born = [said.born for said in self._said[name].values() if said.state == leads.state]
        return leads._replace(born=min([leads.born, *born]))

    def all(self) -> Iterator[Said]:
        """By name."""
        for name in sorted(self._leads):
            if (said := self.get(name)) is not None:
                yield said

    def orphans(self) -> list[Said]:
        """What counts though nobody states it: somebody should."""
        return [kept for _, kept in sorted(self._unsaid.items())]

    def wanted(self, me: PeerId) -> set[ModelDigest]:
        """Candidates that this peer is to try, whether a job asks for them yet or not."""
        trials = [self._leads[name].state.trying for name in self._trying]
        return {trial.candidate.model for trial in trials if trial is not None and me in trial.peers}

    def _keep(self, said: Said) -> None:
        kept = self._unsaid.get(said.state.name)
        if kept is None or _strength(said) > _strength(kept):
            self._unsaid[said.state.name] = said

    def _settle(self, name: str) -> None:
        leads = max(self._said[name].values(), key=_strength, default=None)
        kept = self._unsaid.get(name)
        if kept is not None and leads is not None and leads.state == kept.state:
            leads = self._said[name][leads.origin] = leads._replace(born=min(leads.born, kept.born))
            del self._unsaid[name]
        elif kept is not None and (leads is None or _strength(kept) > _strength(leads)):
            leads = kept
        else:
            self._unsaid.pop(name, None)
        assert leads is not None
        self._leads[name] = leads
        (self._trying.add if leads.state.trying is not None else self._trying.discard)(name)


def _strength(said: Said) -> tuple[int, int, PeerId, bytes]:
    return strength(said.origin, said.state)
