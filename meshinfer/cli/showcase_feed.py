"""Several conversations with a node at once, as one stream of messages."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from meshinfer.errors import MeshInferError
from meshinfer.node.client import call

BOUND = 1000
"""Messages that may wait; a reader that is slower holds the node's answers up, not our memory."""


class Feed:
    """`with Feed() as feed: feed.listen(...)`, then `next` gives the data and ends of all, as they come."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(BOUND)
        self._is_over = threading.Event()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The threads end with their next message, or when the node closes the connection."""
        self._is_over.set()

    def listen(self, node: Path, name: str, args: dict[str, Any]) -> None:
        threading.Thread(target=self._listen, args=(node, name, args), name=name, daemon=True).start()

    def next(self, seconds: float) -> Any:
        """The next message, or None after `seconds`. Raises what a conversation failed with."""
        try:
            message = self._queue.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(message, MeshInferError):
            raise message
        return message

    def _listen(self, node: Path, name: str, args: dict[str, Any]) -> None:
        try:
            with call(node, name, args, silence=None) as conversation:
                for message in conversation:
                    if not self._put(message):
                        return
            self._put(conversation.end)
        except MeshInferError as e:
            self._put(e)

    def _put(self, message: Any) -> bool:
        """Whether anybody still listens."""
        while not self._is_over.is_set():
            try:
                self._queue.put(message, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False
