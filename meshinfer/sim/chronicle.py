"""What happened, for the story of a task when something that must hold did not."""

from __future__ import annotations

from typing import NamedTuple

from meshinfer.errors import MeshInferError
from meshinfer.model.ids import TaskId
from meshinfer.sim.agenda import Agenda

MAX_STORY = 60
"""Lines of a story: the last ones."""


class Line(NamedTuple):
    at: float
    who: str
    what: str
    task: TaskId | None
    """None: it concerns every task of that peer."""


class Violated(MeshInferError):
    """Something that must hold did not. The message names the invariant, the seed and the virtual time."""

    def __init__(self, rule: str, why: str, seed: int, at: float, story: list[str]) -> None:
        super().__init__(f"{rule} is broken: {why}\nseed {seed}, at {at:.3f} s of virtual time")
        self.rule, self.why, self.seed, self.at, self.story = rule, why, seed, at, story


class Chronicle:
    def __init__(self, seed: int, agenda: Agenda) -> None:
        self.seed, self._agenda = seed, agenda
        self._lines: list[Line] = []

    @property
    def now(self) -> float:
        return self._agenda.now

    def note(self, who: str, what: str, task: TaskId | None = None) -> None:
        self._lines.append(Line(self._agenda.now, who, what, task))

    def story(self, task: TaskId | None) -> list[str]:
        """What was noted of a task and of the peers that had to do with it, in order; of None, what befell peers."""
        concerned = {line.who for line in self._lines if task is not None and line.task == task}
        told = [
            line
            for line in self._lines
            if (task is not None and line.task == task)
            or (line.task is None and (task is None or line.who in concerned or line.who == "network"))
        ]
        return [f"{line.at:9.3f}  {line.who:8}  {line.what}" for line in told[-MAX_STORY:]]

    def broken(self, rule: str, why: str, task: TaskId | None = None, now: tuple[str, ...] = ()) -> Violated:
        """The error to raise; `now` are lines about the state as it is, put after the story."""
        return Violated(rule, why, self.seed, self._agenda.now, [*self.story(task), *now])
