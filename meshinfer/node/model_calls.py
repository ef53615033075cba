"""What the owner can ask of the models: answered by the node, or by the home's shelf alone where no node runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from meshinfer.detect.shelf import Shelf
from meshinfer.detect.shelf.verify import verify
from meshinfer.detect.shelf.views import described, model_view
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.closing import closing
from meshinfer.paths import is_file
from meshinfer.schedule.state import ScheduleState

if TYPE_CHECKING:
    from meshinfer.node.calls import Answers, Args
    from meshinfer.node.control import Call
    from meshinfer.node.node import Node

View = dict[str, Any]


# ---- of a shelf alone ------------------------------------------------------------------------------------------------


def _models(shelf: Shelf, args: Args) -> View:
    return {"models": [model_view(shelf, card) for card in shelf.list()]}


def _model(shelf: Shelf, args: Args) -> View:
    return {"model": described(shelf, shelf.find(str(args.get("model", ""))))}


def _add(shelf: Shelf, args: Args) -> View:
    file = Path(str(args.get("file", "")))
    if not is_file(file):
        raise ModelError(f"{file}: no such file; give the path of an .onnx file")
    sidecar = Path(str(args["sidecar"])) if args.get("sidecar") else None
    card = shelf.add(file, args.get("name") or None, args.get("version") or None, sidecar)
    return {"model": model_view(shelf, card)}


def _verify(shelf: Shelf, args: Args) -> View:
    card = shelf.find(str(args.get("model", "")))
    findings = verify(shelf, card)
    return {
        "model": card.reference,
        "digest": card.digest,
        "ok": all(f.ok for f in findings),
        "findings": msgspec.to_builtins(findings),
    }


def _remove(shelf: Shelf, args: Args) -> View:
    card = shelf.remove(shelf.find(str(args.get("model", ""))).digest)
    return {"model": card.reference, "digest": card.digest, "bytes": card.bytes}


def _pin(shelf: Shelf, args: Args) -> View:
    card = shelf.find(str(args.get("model", "")))
    shelf.pin(card.digest, bool(args.get("pinned", True)))
    return {"model": model_view(shelf, card)}


CALLS: dict[str, Callable[[Shelf, Args], View]] = {
    "models": _models,
    "model": _model,
    "model_add": _add,
    "model_verify": _verify,
    "model_remove": _remove,
    "model_pin": _pin,
}


# ---- of a node -------------------------------------------------------------------------------------------------------


def in_use(state: ScheduleState, now: float) -> dict[ModelDigest, list[str]]:
    """The models that open jobs have work for here, and the names of those jobs."""
    used: dict[ModelDigest, list[str]] = {}
    for job in state.jobs.values():
        if job.is_open(now) and job.has_open:
            for model in state.models.needed_by(job.info):
                used.setdefault(model, []).append(job.name)
    return used


class ModelCalls:
    """The same, with what only a node knows: names, who else holds a model, and which jobs run it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Call]:
        return {
            "models": self.models,
            "model": self.model,
            "model_add": self.add,
            "model_verify": self.verify,
            "model_remove": self.remove,
            "model_pin": self.pin,
            "model_fetch": self.fetch,
        }

    async def _ask(self, call: str, args: Args) -> View:
        return await trio.to_thread.run_sync(CALLS[call], self._node.shelf, args)

    async def _change(self, call: str, args: Args) -> View:
        """As `_ask`, and the node hears of it, though who asked may have gone meanwhile: the shelf has changed then."""
        with trio.CancelScope(shield=True):
            answer = await self._ask(call, args)
            await self._node.models_changed()
        return answer

    async def models(self, args: Args) -> Answers:
        answer = await self._ask("models", args)
        yield {"end": {"models": [self._known(view) for view in answer["models"]]}}

    async def model(self, args: Args) -> Answers:
        yield {"end": {"model": self._known((await self._ask("model", args))["model"])}}

    async def add(self, args: Args) -> Answers:
        answer = await self._change("model_add", args)
        yield {"end": {"model": self._known(answer["model"])}}

    async def verify(self, args: Args) -> Answers:
        yield {"end": await self._change("model_verify", args)}  # what is damaged runs no more, what was mended does

    async def remove(self, args: Args) -> Answers:
        """Raises ModelError for one that an open job has work for here, without `force`."""
        card = await trio.to_thread.run_sync(self._node.shelf.find, str(args.get("model", "")))
        jobs = in_use(self._node.driver.state, trio.current_time()).get(card.digest)
        if jobs and not args.get("force"):
            raise ModelError(
                f"{card.reference} is run here by {', '.join(jobs[:3])}: wait, cancel the job, or give --force "
                "(its tasks here then fail)"
            )
        yield {"end": await self._change("model_remove", {**args, "model": card.digest})}

    async def pin(self, args: Args) -> Answers:
        yield {"end": {"model": self._known((await self._ask("model_pin", args))["model"])}}

    async def fetch(self, args: Args) -> Answers:
        """Raises ModelError: nobody has it, it is refused."""
        node, reference = self._node, str(args.get("model", ""))
        digest = await node.digest_of(reference)
        if digest not in node.driver.state.models.here:
            async with closing(node.fetcher.bring(digest)) as moves:
                async for news in moves:
                    yield {"data": {"progress": node.fetcher.view(news)}}
        yield {"end": {"model": self._known((await self._ask("model", {"model": digest}))["model"])}}

    def _known(self, view: View) -> View:
        """`view` with who else holds it, how fast it is here, and names of its signers."""
        state = self._node.driver.state
        digest = ModelDigest(view["digest"])
        held_by = [
            {"peer": peer, "name": state.called(peer), "connected": peer in state.connected}
            for peer in sorted(state.models.holders.get(digest, ()))
            if peer != state.me
        ]
        signers = [{**signer, "name": state.called(PeerId(signer["peer"]))} for signer in view["signers"]]
        return {**view, "signers": signers, "held_by": held_by, "fps": self._node.speeds.classes.get(digest, 0)}
