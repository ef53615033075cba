"""Which provider runs a model best on this machine: found out once, aside, and remembered (docs/OPTIMIZE.md)."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from meshinfer.detect import onnx
from meshinfer.detect.providers import CPU, Provider, usable
from meshinfer.detect.variants.agreement import agreement
from meshinfer.detect.variants.trial import Question, Run, Timing, try_aside
from meshinfer.errors import ModelError
from meshinfer.home import write_durably
from meshinfer.model.ids import ModelDigest

SECONDS: Final = 2.0
"""For which each provider computes on the clock."""
FASTER: Final = 1.1
"""A device must be so much faster than the CPU: it may also be wanted by others, or go away."""
SURE: Final = 0.05
"""Score from which a box must be found on both: nearly every picture gives some."""
SHARE: Final = 0.98
SCORE_SHIFT: Final = 0.01
BOX_SHIFT: Final = 0.02
"""How far a device's results may differ: it rounds elsewhere, and adds in another order."""

Try = Callable[[Question], tuple[Timing, ...]]


class Machine(Struct, frozen=True):
    """What a choice depends on: it is made anew where one of these changes."""

    runtime: str
    offered: tuple[str, ...]
    device: str
    cores: int


class Tuned(Struct, frozen=True):
    """What was found out about one model."""

    machine: Machine
    provider: str = CPU.short
    fps: float = 0.0
    """With all workers; 0: not measured yet."""
    refused: dict[str, str] = {}
    """Why other providers were not taken."""
    tried: bool = False
    """Whether others were tried at all."""


class Book:
    """A folder with a file a model. What cannot be read is not there. Safe to use from several threads."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._folder, self.machine = folder, machine

    def get(self, digest: ModelDigest) -> Tuned | None:
        """None where the model was not tried, or not on this machine as it is now."""
        try:
            tuned = msgspec.json.decode(self._file(digest).read_bytes(), type=Tuned)
        except (OSError, msgspec.MsgspecError):
            return None
        return tuned if tuned.machine == self.machine else None

    def put(self, digest: ModelDigest, tuned: Tuned) -> None:
        """Raises ModelError where it cannot be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._file(digest), msgspec.json.encode(tuned))
        except OSError as e:
            raise ModelError(f"{self._folder}: cannot be written: {e.strerror}") from None

    def note_fps(self, digest: ModelDigest, fps: float) -> None:
        """Raises ModelError where it cannot be written."""
        self.put(digest, msgspec.structs.replace(self.get(digest) or Tuned(self.machine), fps=fps))

    def _file(self, digest: ModelDigest) -> Path:
        return self._folder / f"{digest}.json"


def open_book(home: Path) -> Book:
    """The book of the peer in `home`; imports the runtime."""
    return Book(home / "tuned", this_machine())


def this_machine() -> Machine:
    return Machine(onnx.version(), tuple(sorted(onnx.providers())), _devices(), os.cpu_count() or 1)


def usable_here() -> tuple[Provider, ...]:
    return usable(onnx.providers())


def _devices() -> str:
    """What computes here, and the drivers: as far as files say, since asking the drivers may hang."""
    driver = _first(Path("/proc/driver/nvidia/version"), "NVRM")
    cpu = _first(Path("/proc/cpuinfo"), "model name").rpartition(":")[2].strip() or platform.processor()
    cards = sorted(p.name for p in Path("/dev/dri").glob("render*"))
    return "; ".join(part for part in (platform.machine(), cpu, driver, *cards) if part)[:500]


def _first(file: Path, start: str) -> str:
    try:
        with file.open(errors="replace") as lines:
            return next((line.strip() for line in lines if line.startswith(start)), "")
    except OSError:
        return ""


def tune(model: Path, frames: Path, machine: Machine, threads: int, try_: Try = try_aside) -> Tuned:
    """Try every provider against the CPU on `frames`; blocks for seconds a provider, for minutes where one compiles."""
    pairs: dict[str, tuple[Timing, Timing]] = {}
    cpu = Run(str(model), CPU.short, threads)
    for provider in usable(machine.offered):
        if provider == CPU:
            continue
        runs = (cpu, Run(str(model), provider.short, threads))
        try:
            here, there = try_(Question(runs, str(frames), SECONDS, rounds=2, min_score=SURE / 2))
        except ModelError as e:
            here, there = Timing(cpu), Timing(runs[1], error=str(e))
        pairs[provider.short] = here, there
    return choose(machine, pairs)


def pick(machine: Machine, timings: Mapping[str, Timing]) -> Tuned:
    """Of timings by provider, one of them the CPU's."""
    here = timings[CPU.short]
    tuned = choose(machine, {short: (here, there) for short, there in timings.items() if short != CPU.short})
    return msgspec.structs.replace(tuned, fps=tuned.fps or here.fps)


def choose(machine: Machine, pairs: Mapping[str, tuple[Timing, Timing]]) -> Tuned:
    """The provider with the largest gain over the CPU, without an objection; the CPU where there is none.

    `pairs`: by provider, the CPU's timing and its own, side by side: each pair may be of a time of its own, so gains
    can be compared, frames/s cannot.
    """
    refused = {short: why for short, pair in pairs.items() if (why := objection(*pair))}
    gains = {short: there.fps / here.fps for short, (here, there) in pairs.items() if short not in refused}
    if not gains:
        return Tuned(machine, refused=refused, tried=True)
    best = max(gains, key=lambda short: gains[short])
    return Tuned(machine, best, pairs[best][1].fps, refused, tried=True)


def objection(here: Timing, there: Timing) -> str:
    """Why the provider of `there` must not be used in place of the CPU (`here`), or ""."""
    if here.error or there.error:
        return here.error or there.error
    same = agreement(here.found, there.found, sure=SURE, slack=SURE / 2)
    if same.share < SHARE or abs(same.score_shift) > SCORE_SHIFT or same.box_shift > BOX_SHIFT:
        return (
            f"finds other things than the CPU: {same.share:.0%} of the boxes agree, scores shift by "
            f"{same.score_shift:+.3f}, corners by up to {same.box_shift:.0%}"
        )
    if there.fps < FASTER * here.fps:
        return f"not faster than the CPU: {there.fps:.1f} frames/s against {here.fps:.1f}"
    return ""
