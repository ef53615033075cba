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
        self.busy = False
        """Whether a roll-out is under way, or something is to be stated again."""

    def heard(self, origin: PeerId, state: Channel, born: float) -> None:
        said = self._said.setdefault(state.name, {})
        before = said.get(origin)
        said[origin] = Said(origin, state, born)
        if before is not None and before.state.generation > state.generation:  # it has lost its store
            self._keep(before)
        self._settle()

    def forget(self, peer: PeerId) -> None:
        """Nothing of this peer is kept any more."""
        for said in self._said.values():
            if (before := said.pop(peer, None)) is not None:
                self._keep(before)
        self._settle()

    def get(self, name: str) -> Said | None:
        """Where the channel stands; `born` is that of the first who stated it so."""
        said = list(self._said.get(name, {}).values())
        if (unsaid := self._unsaid.get(name)) is not None:
            said.append(unsaid)
        if not said:
            return None
        best = max(said, key=_strength)
        return best._replace(born=min(s.born for s in said if s.state == best.state))

    def all(self) -> Iterator[Said]:
        """By name."""
        for name in sorted(self._said.keys() | self._unsaid.keys()):
            if (said := self.get(name)) is not None:
                yield said

    def orphans(self) -> list[Said]:
        """What counts though nobody states it: somebody should."""
        return [kept for _, kept in sorted(self._unsaid.items())]

    def wanted(self, me: PeerId) -> set[ModelDigest]:
        """Candidates that this peer is to try, whether a job asks for them yet or not."""
        trials = [said.state.trying for said in self.all()]
        return {trial.candidate.model for trial in trials if trial is not None and me in trial.peers}

    def _settle(self) -> None:
        for name, kept in list(self._unsaid.items()):
            leads = max(self._said.get(name, {}).values(), key=_strength, default=None)
            if leads is not None and (leads.state == kept.state or _strength(leads) > _strength(kept)):
                del self._unsaid[name]
        self.busy = bool(self._unsaid) or any(said.state.trying is not None for said in self.all())

    def _keep(self, said: Said) -> None:
        kept = self._unsaid.get(said.state.name)
        if kept is None or _strength(said) > _strength(kept):
            self._unsaid[said.state.name] = said


def _strength(said: Said) -> tuple[int, int, PeerId, bytes]:
    return strength(said.origin, said.state)
