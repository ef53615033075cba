"""Models as the schedule sees them: which are here, which jobs wait for one, who has it, and why it does not come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import JobId, ModelDigest, PeerId
from meshinfer.model.job import JobInfo, JobSpec, Then
from meshinfer.model.typed import no_such_class
from meshinfer.schedule.candidate import model_here
from meshinfer.schedule.channels import Channels
from meshinfer.schedule.job import JobState
from meshinfer.schedule.stimuli import Effect, Fetch, FetchMoved, Forgo, ModelsChanged

MAX_REFUSALS = 64
"""Refused models that are kept in mind, the last ones: whether one is refused still is asked anew for every job."""

STEP = 10
"""Per cent of a model after which others are told how far it has come."""

MAX_NAMED = 3
"""Peers that a sentence names."""


class Stage(NamedTuple):
    """A model of a job; most have one."""

    model: ModelDigest
    name: str
    """As the job calls it."""
    asked: tuple[str, ...]
    """Classes that it has to know."""


def wrong_classes(spec: JobSpec, reference: str, classes: Sequence[str], *, second: bool = False) -> str:
    """What is wrong with the classes that a job asks of its first or its second model, after their path in a job file;
    "" where the model knows them all.
    """
    then = spec.then or Then("none")
    asked = {"then.classes": then.classes} if second else {"detect.classes": spec.detect.classes, "then.of": then.of}
    for key, names in asked.items():
        if unknown := [name for name in names if name not in classes]:
            return f"$.{key}: {no_such_class(reference, unknown[0], classes)}"
    return ""


class Models:
    """One peer's view."""

    def __init__(self, me: PeerId, jobs: Mapping[JobId, JobState], channels: Channels, *, fetches: bool) -> None:
        self._me, self._jobs, self._channels = me, jobs, channels
        self.here: dict[ModelDigest, tuple[str, ...]] = {}
        """The classes of each that is held here."""
        self._series: frozenset[ModelDigest] = frozenset()
        self.lacking: dict[JobId, JobState] = {}
        """Jobs one of whose models is not."""
        self._fetches = fetches
        self.holders: dict[ModelDigest, dict[PeerId, None]] = {}
        """Who says that it holds a model."""
        self._holds: dict[PeerId, tuple[ModelDigest, ...]] = {}
        self._under_way: dict[ModelDigest, FetchMoved] = {}
        self._refused: dict[ModelDigest, str] = {}
        """What others offer in vain."""
        self._shelved: dict[ModelDigest, str] = {}
        """What lies here and may not run."""

    def heard(self, peer: PeerId, fact: PeerFact | None) -> None:
        """What this peer holds now; None: nothing is known of it any more."""
        for model in self._holds.pop(peer, ()):
            holders = self.holders[model]
            del holders[peer]
            if not holders:
                del self.holders[model]
        if fact is not None and fact.models:
            self._holds[peer] = tuple(dict.fromkeys(ref.digest for ref in fact.models))
            for model in self._holds[peer]:
                self.holders.setdefault(model, {})[peer] = None

    def changed(self, change: ModelsChanged) -> None:
        """These are held here now."""
        self.here, self._shelved, self._series = dict(change.classes), dict(change.refused), change.series
        for model in change.classes:
            self._refused.pop(model, None)

    def runs(self, info: JobInfo) -> ModelDigest:
        """What this peer runs a job with, whether it is here or not."""
        return model_here(info, self._me, self.here)

    def stages(self, info: JobInfo) -> tuple[Stage, ...]:
        """All that this peer needs for a job; none of one that is not understood."""
        spec = info.spec
        if spec is None:
            return ()
        first = Stage(self.runs(info), spec.model, spec.asked)
        if spec.then is None or spec.then.digest is None:
            return (first,)
        return first, Stage(spec.then.digest, spec.then.model, spec.then.classes)

    def missing(self, info: JobInfo) -> tuple[Stage, ...]:
        """Of these, what is not here."""
        return tuple(stage for stage in self.stages(info) if stage.model not in self.here)

    def unfit(self, info: JobInfo) -> str:
        """Why a model that is here cannot do what the job asks of it."""
        stages = self.stages(info)
        for stage in stages:
            classes = self.here.get(stage.model)
            if classes is not None and (unknown := [name for name in stage.asked if name not in classes]):
                return no_such_class(f"the model {stage.name}", unknown[0], classes)[:500]
            if stage.model in self._series and len(stages) > 1:
                return no_second_stage(f"the model {stage.name}")
        return ""

    def is_series(self, model: ModelDigest) -> bool:
        """Whether it is here and looks at series."""
        return model in self._series

    def takes_series(self, info: JobInfo) -> bool | None:
        """Whether the job's model looks at series; False: at pictures; None: it is not held here."""
        model = self.runs(info)
        return model in self._series if model in self.here else None

    def mind(self, job: JobState) -> bool:
        """Whether a job has come to lack a model, or has all it needs now."""
        lacked = job.lacks_model
        job.lacks_model = bool(self.missing(job.info))
        if job.lacks_model:
            self.lacking[job.id] = job
        else:
            self.lacking.pop(job.id, None)
        return job.lacks_model != lacked

    def declines(self, info: JobInfo) -> str | None:
        """Why this peer takes no part in the job at all, whatever it holds."""
        if info.spec is None:
            return info.unclear
        if unfit := self.unfit(info):
            return unfit
        for stage in self.missing(info):
            if not self._fetches:
                off = "and fetching is off here ([models] fetch = false): meshinfer models add FILE"
                return f"the model {stage.name} ({stage.model[:12]}) is not held here, {off}"
            if refused := self.refuses(stage.model):
                return refused
        return None

    def refuses(self, model: ModelDigest) -> str:
        """Why this model may not run here, where whoever offers it does so in vain; empty while it is on its way."""
        if (why := self._refused.get(model)) is not None:
            return why
        news = self._under_way.get(model)
        return "" if news is not None and news.sources else self._shelved.get(model, "")

    def moved(self, news: FetchMoved) -> tuple[bool, bool]:
        """(whether it is refused now and was not, or the other way round; whether others should hear of it)."""
        model, before = news.model, self._under_way.get(news.model)
        if before is None:
            return False, False  # nobody waits for it any more
        was_refused = bool(self.refuses(model))
        self._under_way[model] = news
        self._refused.pop(model, None)
        if news.refused:
            self._refused[model] = news.trouble
            for oldest in list(self._refused)[:-MAX_REFUSALS]:
                del self._refused[oldest]
        told = (_step(before), before.sources, before.trouble) != (_step(news), news.sources, news.trouble)
        return was_refused != bool(self.refuses(model)), told

    def settle(self, now: float, out: list[Effect]) -> None:
        """Ask for what open jobs wait for, and for what a roll-out has this peer try, where that is not on its way; let
        go of the rest. What is refused is asked for on: somebody may come who offers it under another seal.
        """
        if not self._fetches or not (self.lacking or self._under_way or self._channels.busy):
            return
        wanted = dict.fromkeys(sorted(self._channels.wanted(self._me) - self.here.keys()))
        for job in self.lacking.values():
            missing = [stage.model for stage in self.missing(job.info)]
            if job.is_open(now) and not self.unfit(job.info) and (job.has_open or any(map(self.refuses, missing))):
                wanted.update(dict.fromkeys(missing))
        for model in [model for model in self._under_way if model not in wanted]:
            del self._under_way[model]
            out.append(Forgo(model))
        for model in wanted:
            if model not in self._under_way:
                self._under_way[model] = FetchMoved(model)
                out.append(Fetch(model))

    def in_use(self, now: float) -> set[ModelDigest]:
        """Models that open jobs have work for here: no room is made at their cost."""
        working = [job.info for job in self._jobs.values() if job.is_open(now) and job.has_open]
        return {model for info in working for model in self.needed_by(info)} | self._channels.wanted(self._me)

    def needed_by(self, info: JobInfo) -> set[ModelDigest]:
        """What the job is run with here: its models, and the candidate that is tried on this peer."""
        return {info.order.model, *(stage.model for stage in self.stages(info))}

    def deadlines(self, now: float) -> list[float]:
        """When a job that waits for its model is over."""
        return [job.expires_at for job in self.lacking.values() if job.is_open(now)] if self._under_way else []

    def why(self, info: JobInfo, called: Callable[[PeerId], str]) -> str:
        """Why what the job needs is not here yet; empty where it is."""
        missing = self.missing(info)
        if not missing:
            return ""
        why = self._why(missing[0].model, called)
        return why if info.second is None else f"{missing[0].name}: {why}"

    def _why(self, model: ModelDigest, called: Callable[[PeerId], str]) -> str:
        if refused := self.refuses(model):
            return refused
        news = self._under_way.get(model)
        if news is not None and news.sources:
            return f"it fetches the model from {_names(news.sources, called)}: {_percent(news)} %"
        holders = tuple(self.holders.get(model, ()))
        if not holders:
            return f"no peer in reach has the model sha256:{model[:12]}"
        trouble = f": {news.trouble}" if news is not None and news.trouble else ""
        return f"it has yet to fetch the model from {_names(holders, called)}{trouble}"


def no_second_stage(name: str) -> str:
    return f"{name} looks at series, and both models of a job with `then` look at pictures"


def _percent(news: FetchMoved) -> int:
    return 100 * min(news.got, news.size) // news.size if news.size else 0


def _step(news: FetchMoved) -> int:
    return _percent(news) // STEP


def _names(peers: tuple[PeerId, ...], called: Callable[[PeerId], str]) -> str:
    names = [called(peer) for peer in peers[:MAX_NAMED]]
    if len(peers) > MAX_NAMED:
        names.append(f"{len(peers) - MAX_NAMED} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
