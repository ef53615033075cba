"""A job for programs: what a job file says, in keywords; and one that was published, to wait for and to read."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import msgspec

from meshinfer.api.jobfile import load_job
from meshinfer.errors import MeshInferError, PartialResult
from meshinfer.model.detection import Cursor, Detection, Event
from meshinfer.model.ids import PeerId
from meshinfer.model.jobfile import plain_spec, read_spec
from meshinfer.node.client import ask, call


class Job:
    """What to run over which footage: `Job("yolox_nano", on={"kind": "video"}, detect={"classes": ["person"]})`.

    The keywords are the keys of a job file (docs/JOBS.md), its human forms (`expires="2h"`) too. Raises ConfigError
    that names the key.
    """

    def __init__(self, model: str, **keys: Any) -> None:
        self.spec = read_spec({"model": model, **keys}, where="Job")

    @staticmethod
    def load(file: str | PathLike[str]) -> Job:
        """The job of a YAML or JSON file. Raises ConfigError."""
        job = Job.__new__(Job)
        job.spec, _ = load_job(fspath(file))
        return job

    def __repr__(self) -> str:
        return f"Job({', '.join(f'{key}={value!r}' for key, value in plain_spec(self.spec).items())})"


class PublishedJob:
    """A job that the mesh has. Everything is asked of the local node: it may be dropped, and made again from its id."""

    def __init__(self, node: Path, id: str) -> None:  # noqa: A002  what it is called everywhere else
        self._node, self.id = node, id

    def __repr__(self) -> str:
        return f"PublishedJob({self.id})"

    def view(self) -> dict[str, Any]:
        """How it is: state, tasks, peers with who runs, who declines and why (docs/CONTROL.md, JOBVIEW)."""
        return ask(self._node, "job", {"job": self.id})

    def progress(self, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        """A JOBVIEW at each change, until it is over; the last one is its summary. Raises TimedOut."""
        with call(self._node, "follow", {"job": self.id}, silence=None, timeout=timeout) as conversation:
            for message in conversation:
                yield message["progress"]
            yield conversation.end["summary"]

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Its summary once it is done, cancelled or expired, or nobody runs it. Raises TimedOut."""
        *_, summary = self.progress(timeout)
        return summary

    def results(self) -> Iterator[Event]:
        """All it found, peer by peer, ordered within each. Raises PartialResult after the last where peers are away."""
        with call(self._node, "results", {"job": self.id, "annotate": 0}) as conversation:
            for message in conversation:
                if event := message.get("event"):
                    yield read_event(event)
        missing = conversation.end.get("missing") or []
        if missing:
            names = ", ".join(str(peer.get("name") or peer.get("peer")) for peer in missing)
            raise PartialResult(f"what {names} found is missing: no answer")

    def cancel(self) -> None:
        ask(self._node, "cancel", {"job": self.id})


def published(answer: dict[str, Any], node: Path) -> PublishedJob:
    if not isinstance(job := answer.get("job"), str):
        raise MeshInferError("the node published the job without saying its id")
    return PublishedJob(node, job)


def read_event(view: dict[str, Any]) -> Event:
    """EVENT of docs/CONTROL.md."""
    origin, incarnation, n = view["cursor"].split("/")
    cursor = Cursor(PeerId(origin), int(incarnation), int(n))
    return msgspec.convert({**view, "cursor": cursor, "detections": read_detections(view)}, Event)


def read_detections(view: dict[str, Any]) -> tuple[Detection, ...]:
    return tuple(Detection(d["label"], d["score"], tuple(d["box"])) for d in view["detections"])
