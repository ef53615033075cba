"""Models as the schedule sees them: which are here, which jobs wait for one, who has it, and why it does not come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import JobId, ModelDigest, PeerId
from meshinfer.model.job import JobInfo, JobSpec
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


def unknown_classes(spec: JobSpec, classes: Sequence[str]) -> list[str]:
    """Classes that a job asks for and a model does not know."""
    return [name for name in spec.detect.classes if name not in classes]


class Models:
    """One peer's view."""

    def __init__(self, me: PeerId, jobs: Mapping[JobId, JobState], channels: Channels, *, fetches: bool) -> None:
        self._me, self._jobs, self._channels = me, jobs, channels
        self.here: dict[ModelDigest, tuple[str, ...]] = {}
        """The classes of each that is held here."""
        self._series: frozenset[ModelDigest] = frozenset()
        self.lacking: dict[JobId, JobState] = {}
        """Jobs whose model is not."""
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

    def takes_series(self, info: JobInfo) -> bool | None:
        """Whether the job's model looks at series; False: at pictures; None: it is not held here."""
        model = self.runs(info)
        return model in self._series if model in self.here else None

    def mind(self, job: JobState) -> bool:
        """Whether a job has come to lack its model, or has it now."""
        lacked = job.lacks_model
        job.lacks_model = job.info.spec is not None and self.runs(job.info) not in self.here
        if job.lacks_model:
            self.lacking[job.id] = job
        else:
            self.lacking.pop(job.id, None)
        return job.lacks_model != lacked

    def declines(self, info: JobInfo) -> str | None:
        """Why this peer takes no part in the job at all, whatever it holds."""
        spec, model = info.spec, self.runs(info)
        if spec is None:
            return info.unclear
        if (classes := self.here.get(model)) is not None:
            unknown = unknown_classes(spec, classes)
            return no_such_class(f"the model {spec.model}", unknown[0], classes)[:500] if unknown else None
        if not self._fetches:
            off = "and fetching is off here ([models] fetch = false): meshinfer models add FILE"
            return f"the model {spec.model} ({model[:12]}) is not held here, {off}"
        return self.refuses(model) or None

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
        if not self._fetches:
            return
        wanted = dict.fromkeys(sorted(self._channels.wanted(self._me) - self.here.keys()))
        for job in self.lacking.values():
            model = self.runs(job.info)
            if job.is_open(now) and (job.has_open or self.refuses(model)):
                wanted[model] = None
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
        jobs = {model for info in working for model in (self.runs(info), info.order.model)}
        return jobs | self._channels.wanted(self._me)

    def deadlines(self, now: float) -> list[float]:
        """When a job that waits for its model is over."""
        return [job.expires_at for job in self.lacking.values() if job.is_open(now)] if self._under_way else []

    def why(self, model: ModelDigest, called: Callable[[PeerId], str]) -> str:
        """Why it is not here yet; empty where it is."""
        if model in self.here:
            return ""
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


def _percent(news: FetchMoved) -> int:
    return 100 * min(news.got, news.size) // news.size if news.size else 0


def _step(news: FetchMoved) -> int:
    return _percent(news) // STEP


def _names(peers: tuple[PeerId, ...], called: Callable[[PeerId], str]) -> str:
    names = [called(peer) for peer in peers[:MAX_NAMED]]
    if len(peers) > MAX_NAMED:
        names.append(f"{len(peers) - MAX_NAMED} more")
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
