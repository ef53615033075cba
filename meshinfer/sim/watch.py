"""What the simulated peers tell whoever checks what must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from meshinfer.model.catalog import Entry
from meshinfer.model.ids import TaskId
from meshinfer.schedule import stimuli as st

if TYPE_CHECKING:
    from meshinfer.sim.peer import Peer


class Watch(Protocol):
    """Whoever checks what must hold."""

    def starts(self, peer: Peer, task: TaskId, entry: Entry) -> None:
        """The schedule wants a task to be worked on."""

    def begins(self, peer: Peer, task: TaskId) -> None:
        """Work on a task begins: nothing of it was done, or not all."""

    def lets_go(self, peer: Peer, task: TaskId) -> None:
        """Work on a task ends before it is over."""

    def handled(self, peer: Peer, stimulus: st.Stimulus) -> None:
        """The schedule has taken in a stimulus, and its effects were asked for."""

    def leaves(self, peer: Peer, data: bytes) -> None:
        """Something is about to be sent."""

    def died(self, peer: Peer) -> None:
        """Its process is about to be no more."""
