"""What the owner can ask about channels: move one, go back, see where they stand (docs/CONTROL.md)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from meshinfer.errors import ConfigError, StoreError
from meshinfer.model import channel as ch
from meshinfer.model.channel import MAX_CANARIES, Channel, Trial, Version, canaries, is_channel
from meshinfer.model.ids import PeerId
from meshinfer.model.job import JobSpec
from meshinfer.node.follow import Follower
from meshinfer.node.views import View, reference
from meshinfer.schedule.channels import Said
from meshinfer.schedule.evidence import gather, under
from meshinfer.schedule.judge import judge
from meshinfer.schedule.rollout import is_over
from meshinfer.schedule.tally import Tally

if TYPE_CHECKING:
    from meshinfer.node.control import Call
    from meshinfer.node.node import Node

Args = dict[str, Any]
Answers = AsyncGenerator[dict[str, Any], None]

PATIENCE = 15.0
TRIED_FOR = 600.0
MAX_SECONDS = 30 * 86400.0


class ChannelCalls:
    def __init__(self, node: Node, follower: Follower) -> None:
        self._node, self._follower = node, follower

    def table(self) -> dict[str, Call]:
        return {"model_promote": self.promote, "model_rollback": self.rollback, "channels": self.channels}

    async def promote(self, args: Args) -> Answers:
        """`model`, and where they are given `to`, `permille` (tried on that share first), `seconds`, `why`."""
        rollout, state = self._node.rollout, self._node.driver.state
        wanted = JobSpec(str(args.get("model") or ""))
        _, model = rollout.pin(wanted) or (wanted, await self._node.resolve(wanted))
        version = Version(model, reference(state, model))
        name = str(args.get("to") or f"{version.reference.partition('@')[0]}:stable")
        if not is_channel(name):
            raise ConfigError(f"{name!r} cannot name a channel: it takes NAME:TRACK, such as yard-detector:stable")
        said = state.channels.get(name)
        before, why, permille = said.state if said else None, str(args.get("why") or "")[:512], args.get("permille")
        if before is not None and before.stable.model == model and before.trying is None:
            raise ConfigError(f"{name} is {version.reference} already")
        if permille is None:
            yield await self._moved(ch.placed(before, name, version, why=why, stated=time.time()))
            return
        if before is None:
            raise ConfigError(
                f"there is no channel {name} yet, so nothing to compare with: promote its first model without --canary"
            )
        if before.trying is not None:
            raise ConfigError(
                f"{name} is trying {before.trying.candidate.reference}: end that with `meshinfer models rollback "
                f"{name}`, or take one at once for all: promote it without --canary"
            )
        trial = Trial(version, self._canaries(name, version, permille), permille, _seconds(args.get("seconds")))
        yield await self._moved(ch.tried(before, trial, why=why, stated=time.time()))

    def _canaries(self, name: str, version: Version, permille: object) -> tuple[PeerId, ...]:
        """Of the peers that hold footage, where any are known to: the others would have nothing to show."""
        if not isinstance(permille, int) or not 1 <= permille <= 999:
            raise ConfigError("--canary takes a share of the peers, from 0.1% to 99.9%")
        state = self._node.driver.state
        residents = sorted(peer for peer, fact in state.peers.items() if not fact.guest)
        holders = [peer for peer in residents if any(s.entries for s in state.sources.get(peer, {}).values())]
        if not residents:
            raise ConfigError("no peer is known here that could try it")
        return canaries(name, version.model, permille, holders or residents)

    async def rollback(self, args: Args) -> Answers:
        said = self._node.rollout.find(str(args.get("channel") or ""))
        why, now = str(args.get("why") or "by its owner")[:512], time.time()
        if said.state.trying is not None:
            yield await self._moved(ch.ended(said.state, "rollback", why=why, stated=now))
        elif said.state.before is None:
            raise ConfigError(
                f"{said.state.name} never stood for anything but {said.state.stable.reference}: nothing to go back to"
            )
        else:
            yield await self._moved(ch.returned(said.state, why=why, stated=now))

    async def channels(self, args: Args) -> Answers:
        """All, or the one that is named."""
        rollout, state = self._node.rollout, self._node.driver.state
        one = args.get("channel")
        found = [rollout.find(str(one))] if one else list(state.channels.all())
        for said in found:
            if said.state.trial is not None:
                rollout.follow(said)
        jobs = [job for said in found for job in under(said.state, state.jobs.values())[-10:]]
        await self._follower.fetch(*jobs)
        yield {"end": {"channels": [self._view(said) for said in found]}}

    async def _moved(self, statement: Channel) -> dict[str, Any]:
        if statement.generation >= ch.MAX_GENERATION:
            raise ConfigError(f"{statement.name} has been moved for the last time: somebody used up its numbers")
        said = await self._node.rollout.move(statement, PATIENCE)
        if said is None:
            raise StoreError(
                "this is not written down yet: it goes out as soon as it can be; see `meshinfer models channels`"
            )
        await self._node.spread()
        return {"end": {"channel": self._view(said)}}

    def _view(self, said: Said) -> View:
        state, channel, now = self._node.driver.state, said.state, trio.current_time()
        trial, trying = channel.trial, channel.trying is not None
        view: View = {
            "channel": channel.name,
            "model": _named(channel.stable),
            "before": _named(channel.before) if channel.before else None,
            "generation": channel.generation,
            "move": channel.move,
            "why": channel.why,
            "by": said.origin,
            "by_name": state.called(said.origin),
            "since": round(max(0.0, now - said.born), 1),
            "trial": None,
        }
        if trial is not None:
            evidence = gather(channel, state.jobs.values())
            judgement = judge(evidence, over=is_over(said, now))
            view["trial"] = {
                "candidate": _named(trial.candidate),
                "share": trial.permille / 1000,
                "peers": [{"peer": peer, "name": state.called(peer)} for peer in trial.peers],
                "bounded": len(trial.peers) == MAX_CANARIES,
                "seconds": trial.seconds,
                "left": round(max(0.0, said.born + trial.seconds - now), 1) if trying else 0.0,
                "verdict": judgement.verdict if trying else channel.move,
                "why": judgement.why if trying else channel.why,
                "tried": _tally(evidence.candidate),
                "rest": _tally(evidence.rest),
                "each": [
                    {
                        "peer": peer,
                        "name": state.called(peer),
                        "tried": _tally(tally),
                        "before": _tally(evidence.before[peer]) if peer in evidence.before else None,
                    }
                    for peer, tally in sorted(evidence.canaries.items())
                ],
            }
        return view


def _named(version: Version) -> View:
    return {"reference": version.reference, "digest": version.model}


def _tally(tally: Tally) -> View:
    figures = {"per_frame": round(tally.per_frame, 4), "fps": round(tally.fps, 2), "score": round(tally.score, 4)}
    return {**msgspec.to_builtins(tally), **figures}


def _seconds(given: object) -> float:
    seconds = TRIED_FOR if given is None else given
    if not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_SECONDS:
        raise ConfigError("--for takes a time from 1s to 30d")
    return float(seconds)
