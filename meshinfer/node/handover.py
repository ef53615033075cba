"""Work that moves from busy peers to idle ones: the questions, and their answers."""

from __future__ import annotations

from collections import deque

import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.ids import TaskId
from meshinfer.node.driver import Driver
from meshinfer.schedule.stimuli import AskWork, Grant, WorkAsked, WorkGranted
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import GiveWork, WantWork, read_give_work, read_want_work

PROTOCOL = "work"
PATIENCE = 2.0
"""Seconds for an answer. What was given and is not claimed soon is taken back, so a late answer is worth nothing."""


class Handover:
    def __init__(self, mesh: Mesh, driver: Driver) -> None:
        self._mesh, self._driver = mesh, driver
        self._questions: deque[AskWork] = deque(maxlen=4)
        self._wished = trio.Event()
        self._tickets = 0
        self._granted: dict[int, tuple[TaskId, ...]] = {}
        mesh.serve(PROTOCOL, self._answer)

    def perform(self, effect: AskWork | Grant) -> None:
        match effect:
            case AskWork():
                self._questions.append(effect)
                self._wished.set()
            case Grant(ticket, _, tasks):
                self._granted[ticket] = tasks

    async def serve(self) -> None:
        while True:
            while not self._questions:
                self._wished = trio.Event()
                await self._wished.wait()
            question = self._questions.popleft()
            tasks = await self._ask(question)
            self._driver.feed(WorkGranted(question.peer, question.job, tasks))

    async def _ask(self, question: AskWork) -> tuple[TaskId, ...]:
        try:
            with trio.fail_after(PATIENCE):
                async with self._mesh.open(question.peer, PROTOCOL) as stream:
                    await stream.send(encode(WantWork(question.job, question.most)))
                    given = read_give_work(await stream.receive() or b"")
        except (MeshError, ProtocolError, trio.TooSlowError):
            return ()
        return tuple(TaskId(task.hex()) for task in given.tasks)

    async def _answer(self, stream: Stream) -> None:
        want = read_want_work(await stream.receive() or b"")
        self._tickets += 1
        ticket = self._tickets
        self._driver.feed(WorkAsked(stream.peer, want.job, want.most, ticket))  # the grant comes before this returns
        await stream.send(encode(GiveWork(tuple(map(bytes.fromhex, self._granted.pop(ticket, ()))))))
