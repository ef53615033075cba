"""A peer for programs: one of this process, or the one that runs already in the same home."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from meshinfer.api.job import Job, PublishedJob, published, read_detections, read_event
from meshinfer.config import load
from meshinfer.errors import ConfigError
from meshinfer.home import default_home, socket_path
from meshinfer.model.detection import Detection, Event
from meshinfer.model.ids import reference_of
from meshinfer.model.jobfile import plain_spec
from meshinfer.node.client import ask, call, is_running


class Peer:
    """A member of the mesh, as a context: `with Peer(source={"yard": "footage"}) as peer: ...`.

    Without a node in `home` [$MESHINFER_HOME, else ~/.meshinfer] one is started in a thread of this process, and
    stopped at the end; its settings are those of the home's config.toml with the arguments over them. Where one runs
    there already, it is used, and goes on afterwards; it has settings of its own, so arguments for another raise
    ConfigError.
    """

    def __init__(
        self,
        home: str | PathLike[str] | None = None,
        *,
        source: Mapping[str, str | PathLike[str]] | None = None,
        bootstrap: Sequence[str] = (),
        listen: Sequence[str] = (),
        name: str = "",
        mesh: str = "",
        labels: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`say` is told what a person should know (`no room on the disk`), in the peer's thread."""
        self.home = Path(home).expanduser().absolute() if home else default_home().absolute()
        self._say = say
        sections: dict[str, dict[str, Any]] = {
            "peer": {"name": name, "labels": dict(labels or {})},
            "mesh": {"name": mesh, "bootstrap": list(bootstrap), "listen": list(listen)},
        }
        self._flags: dict[str, Any] = {
            section: said for section, keys in sections.items() if (said := {k: v for k, v in keys.items() if v})
        }
        if source:
            self._flags["source"] = [{"name": key, "path": fspath(path)} for key, path in source.items()]
        self._open = ExitStack()
        self._node: Path | None = None

    def __enter__(self) -> Self:
        node = socket_path(self.home)
        if is_running(node):
            if self._flags:
                raise ConfigError(f"a node runs in {self.home} already: stop it, use another home, or give no settings")
        else:
            from meshinfer.node.app import background

            node = self._open.enter_context(background(load(self.home, self._flags), say=self._say))
        self._node = node
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._node = None
        self._open.close()

    @property
    def node(self) -> Path:
        """Its control socket, for calls that have no method here (docs/CONTROL.md). Raises ConfigError outside."""
        if self._node is None:
            raise ConfigError("this peer is not open: use it inside of `with Peer(...) as peer:`")
        return self._node

    @property
    def id(self) -> str:
        return str(self.status()["peer"])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs that other peers can give as `bootstrap`."""
        return tuple(self.status()["addresses"])

    def status(self) -> dict[str, Any]:
        return ask(self.node, "status")

    def peers(self) -> list[dict[str, Any]]:
        """All that are known, this one too: what each holds and can do."""
        known: list[dict[str, Any]] = ask(self.node, "peers")["peers"]
        return known

    def add_model(self, file: str | PathLike[str], *, name: str | None = None, version: str | None = None) -> str:
        """Put a model on this peer's shelf; how jobs name it. Raises ModelError."""
        args = {"file": str(Path(file).expanduser().absolute()), "name": name, "version": version}
        card = ask(self.node, "model_add", {key: value for key, value in args.items() if value})["model"]
        return reference_of(card["name"], card["version"])

    def publish(self, job: Job) -> PublishedJob:
        """Give a job to the mesh: whoever holds matching footage runs it."""
        return published(ask(self.node, "publish", {"spec": plain_spec(job.spec)}), self.node)

    def dry_run(self, job: Job) -> dict[str, Any]:
        """Who would run the job, who declines, and why; nothing is published."""
        return ask(self.node, "dry_run", {"spec": plain_spec(job.spec)})

    def events(self, *, since: str = "", **only: Any) -> Iterator[Event]:
        """Detections as they are made, anywhere in the mesh; it never ends. `since`: `10m`, or the cursor of the last
        one that was seen. `only`: job, label, min_score, source, peer, as `meshinfer subscribe` has them.
        """
        wanted = {key: value for key, value in only.items() if value} | ({"since": since} if since else {})
        with call(self.node, "subscribe", wanted, silence=None) as conversation:
            for message in conversation:
                if event := message.get("event"):
                    yield read_event(event)

    def infer(
        self, model: str, *pictures: str | PathLike[str], on: str = "", **detect: Any
    ) -> list[tuple[Detection, ...]]:
        """What a model of this peer, or of the peer `on` (name or id), sees in each picture. `detect`: classes,
        min_score, iou. The pictures are sent there. Raises ModelError, MediaError, MeshError.
        """
        files = [str(Path(picture).expanduser().absolute()) for picture in pictures]
        args = {"model": model, "files": files, "detect": detect} | ({"peer": on} if on else {})
        with call(self.node, "infer", args) as conversation:
            return [read_detections(message) for message in conversation]
