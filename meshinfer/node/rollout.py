"""Channels at a running peer: what a job that names one is pinned to, and the end of roll-outs."""

from __future__ import annotations

import time

import trio
from msgspec.structs import replace

from meshinfer.errors import ConfigError, ModelError
from meshinfer.model.channel import Channel, is_channel
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Canary, JobSpec
from meshinfer.model.typed import did_you_mean
from meshinfer.node.driver import Driver
from meshinfer.node.records import Records
from meshinfer.schedule.channels import Said
from meshinfer.schedule.evidence import under
from meshinfer.schedule.models import wrong_classes
from meshinfer.schedule.rollout import Watch

LOOK = 2.0
"""Seconds between two looks at the roll-outs under way."""

MAX_FOLLOWED = 50
"""Jobs of a roll-out, the newest, of which everything is asked for."""


class Rollout:
    def __init__(self, driver: Driver, records: Records) -> None:
        self._driver, self._records = driver, records
        self._watch = Watch(driver.state)

    async def serve(self) -> None:
        """Follow the roll-outs that are this peer's to follow, and say when one has ended."""
        while True:
            while not self._driver.state.channels.busy:
                await self._driver.changed()
            await trio.sleep(LOOK)
            now = trio.current_time()
            for said in self._watch.followed(now):
                self.follow(said)
            for statement in self._watch.look(now, wall=time.time()):
                self._records.state(statement)

    def follow(self, said: Said) -> None:
        """Hear all that is said in the jobs of this roll-out, for a while."""
        jobs = under(said.state, self._driver.state.jobs.values())
        self._records.follow(*(job.id for job in jobs[-MAX_FOLLOWED:]))

    def find(self, name: str) -> Said:
        """Raises ModelError for a channel that is not known here."""
        if (said := self._driver.state.channels.get(name)) is not None:
            return said
        known = [said.state.name for said in self._driver.state.channels.all()]
        here = f" (but {', '.join(known[:20])})" if known else ""
        hint = did_you_mean(name, known) or f"; `meshinfer models promote MODEL --to {name}` makes it"
        raise ModelError(f"no channel {name!r} is known here{here}{hint}")

    def pin(self, spec: JobSpec) -> tuple[JobSpec, ModelDigest] | None:
        """A job that names a channel, with the roll-out under way there; and the channel's model. None for others.

        Raises ModelError where the channel is not known, ConfigError where its model lacks a class.
        """
        if not is_channel(spec.model):
            return None
        channel = self.find(spec.model).state
        classes = self._driver.state.models.here.get(channel.stable.model)
        if classes is not None and (wrong := wrong_classes(spec, channel.stable.reference, classes)):
            raise ConfigError(wrong)
        trial = channel.trying
        canary = None if trial is None else Canary(trial.candidate.model, trial.peers)
        return replace(spec, canary=canary), channel.stable.model

    async def move(self, state: Channel, patience: float) -> Said | None:
        """State a move, and wait until it counts; None where it is not written down in time."""
        self._records.state(state)
        with trio.move_on_after(patience):
            while self._moved(state) is None:
                await self._driver.changed()
        return self._moved(state)

    def _moved(self, state: Channel) -> Said | None:
        said = self._driver.state.channels.get(state.name)
        return said if said is not None and said.state.generation >= state.generation else None
