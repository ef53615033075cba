"""A job as people watch it: the records this peer has, and what each peer answers when asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress

import trio

from meshinfer.errors import ConfigError, MeshError, ProtocolError
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.verdict import Verdict
from meshinfer.node.driver import Driver
from meshinfer.node.questions import PATIENCE, Questions
from meshinfer.node.sync import Sync
from meshinfer.node.views import View, is_over, job_view
from meshinfer.schedule.interest import ASKED
from meshinfer.schedule.job import JobState
from meshinfer.wire.messages import Ask

REFRESH = 0.2
"""Seconds between two views: five a second is as much as people see."""

ASK_AGAIN = 2.0
SILENCE = 5.0
"""Seconds that a finished job waits for connected peers that have not said whether they hold more of it."""

FETCH = 1.0
"""Seconds that the story of a job may take to come."""

LAST_WORD = 1.0
"""Seconds that the last view waits for what each peer says in the end."""

NOBODY = 10.0
"""Seconds after which a job that nobody takes up is given up on by whoever follows it; it stays published."""


class Follower:
    def __init__(self, driver: Driver, questions: Questions, sync: Sync) -> None:
        self._driver, self._questions, self._sync = driver, questions, sync

    def find(self, text: str) -> JobState:
        """By id, by a prefix that one id has, or by name (the newest). Raises ConfigError."""
        jobs = self._driver.state.jobs
        if job := jobs.get(JobId(text)):
            return job
        matches = [job for job in jobs.values() if text and job.id.startswith(text)]
        if len(matches) > 1:
            raise ConfigError(f"{text!r} begins the ids of {len(matches)} jobs: give more of it")
        matches = matches or [job for job in jobs.values() if job.name == text]
        if not matches:
            raise ConfigError(f"no job {text!r} is known here; `meshinfer jobs` lists those that are")
        return max(matches, key=lambda job: (job.born, job.id))

    async def ask_all(self, ask: Ask, patience: float = PATIENCE) -> tuple[dict[PeerId, Verdict], dict[PeerId, str]]:
        """The verdict of every connected peer (guests run nothing), and who gave none, with the reason."""
        verdicts: dict[PeerId, Verdict] = {}
        missing: dict[PeerId, str] = {}

        async def one(peer: PeerId) -> None:
            try:
                verdicts[peer] = await self._questions.ask(peer, ask, patience)
            except (MeshError, ProtocolError) as e:
                missing[peer] = str(e)

        async with trio.open_nursery() as nursery:
            for peer in self._residents():
                nursery.start_soon(one, peer)
        return verdicts, missing

    def _residents(self) -> list[PeerId]:
        state = self._driver.state
        here = sorted({state.me, *state.connected})
        return [peer for peer in here if peer not in state.peers or not state.peers[peer].guest]

    async def describe(self, job: JobState) -> View:
        await self.fetch(job)
        return await self._described(job, {}, PATIENCE)

    async def _described(self, job: JobState, heard: dict[PeerId, Verdict], patience: float) -> View:
        verdicts, missing = await self.ask_all(Ask(job=job.id), patience)
        view = job_view(self._driver.state, job, trio.current_time(), {**heard, **verdicts})
        known = {m["peer"] for m in view["missing"]}
        view["missing"] += [
            {"peer": peer, "name": peer[-6:], "reason": why}
            for peer, why in sorted(missing.items())
            if peer not in known
        ]
        return view

    async def fetch(self, *jobs: JobState) -> None:
        """Who takes no part in a job keeps nothing of it: bring its story, and keep it for a minute."""
        await self._sync.fetch([job.id for job in jobs], FETCH)

    async def follow(self, job: JobState) -> AsyncGenerator[View, None]:
        """Views as they change. The last one is of a job that is over, or that nobody has taken up.

        It holds a nursery: `node/closing.py`.
        """
        verdicts: dict[PeerId, Verdict] = {}
        last: View | None = None
        over_since: float | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_asking, job, verdicts)
            nursery.start_soon(self._keep_following, job)
            while True:
                now = trio.current_time()
                view = job_view(self._driver.state, job, now, verdicts)
                patience = (
                    NOBODY if view["state"] == "declined" else SILENCE if self._expects_more(job, verdicts) else 0.0
                )
                if not is_over(view):
                    over_since = None
                elif over_since is None:
                    over_since = now
                if over_since is not None and now - over_since >= patience:
                    break
                if view != last:
                    last = view
                    yield view
                await trio.sleep(REFRESH)
            nursery.cancel_scope.cancel()
        # Ask once more: the summary says why each peer ran or declined.
        yield await self._described(job, verdicts, LAST_WORD)

    async def _keep_following(self, job: JobState) -> None:
        while True:
            await self.fetch(job)
            await trio.sleep(ASKED / 4)

    async def _keep_asking(self, job: JobState, verdicts: dict[PeerId, Verdict]) -> None:
        """Ask each peer until it knows the job. None waits for another's answer, nor does the view."""
        asked: set[PeerId] = set()

        async def one(peer: PeerId) -> None:
            with suppress(MeshError, ProtocolError):
                verdicts[peer] = await self._questions.ask(peer, Ask(job=job.id))
            asked.discard(peer)

        async with trio.open_nursery() as nursery:
            while True:
                residents = self._residents()
                for gone in verdicts.keys() - set(residents):
                    del verdicts[gone]
                for peer in residents:
                    if peer not in asked and self._unsettled(verdicts, peer):
                        asked.add(peer)
                        nursery.start_soon(one, peer)
                await trio.sleep(ASK_AGAIN)

    def _unsettled(self, verdicts: dict[PeerId, Verdict], peer: PeerId) -> bool:
        return peer not in verdicts or verdicts[peer].verdict == "unknown"

    def _expects_more(self, job: JobState, verdicts: dict[PeerId, Verdict]) -> bool:
        """Whether a connected peer has yet to answer, or has tasks whose manifest is still on its way."""
        if job.cancelled is not None:
            return False
        for peer in self._residents():
            verdict = verdicts.get(peer)
            if verdict is None or verdict.verdict == "unknown":
                return True
            if verdict.tasks and not job.manifest_complete(peer):
                return True
        return False
