"""What `meshinfer simulate` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshinfer.cli.common import Session
from meshinfer.cli.output import Column, count, size, span
from meshinfer.sim import growth as law
from meshinfer.sim.chronicle import Violated
from meshinfer.sim.figures import Figures, Summary
from meshinfer.sim.growth import Growth


def broken(session: Session, e: Violated, replay: str, shrunk: tuple[str, Violated] | None) -> None:
    """What did not hold, in the run where it was found and in the smallest that was found to fail like it."""
    if session.json:
        told = {"broken": e.rule, "why": e.why, "seed": e.seed, "at": e.at, "story": e.story, "replay": replay}
        if shrunk is not None:
            toml, smaller = shrunk
            told["shrunk"] = {"toml": toml, "seed": smaller.seed, "why": smaller.why, "story": smaller.story}
        session.out.data(told)
        return
    _say(session, str(e), "bold red")
    if shrunk is None:
        _tell(session, e.story)
    else:
        toml, smaller = shrunk
        session.out.say("The smallest story that was found:", "bold")
        _say(session, str(smaller))
        _tell(session, smaller.story)
        session.out.say(f"Its scenario, to be replayed with --seed {smaller.seed}:", "bold")
        _say(session, toml.strip())
    session.out.say(f"replay: {replay}")


def _say(session: Session, lines: str, style: str = "") -> None:
    for line in lines.splitlines():
        session.out.say(line, style)


def _tell(session: Session, story: Sequence[str]) -> None:
    for line in story:
        session.out.say(line)


def summary(session: Session, s: Summary, earlier: int, seconds: float, runs: Sequence[Figures]) -> None:
    """`earlier`: of its runs, those that were done before these seconds."""
    if session.json:
        session.out.data({"summary": s, "seconds": round(seconds, 3), "earlier": earlier, "runs": runs})
        return
    rate, before = (s.runs - earlier) / max(seconds, 1e-9), f" ({earlier:,} earlier)" if earlier else ""
    session.out.say(
        f"{count(s.runs, 'run')} of {s.scenario}{before}, nothing broken: {seconds:.1f} s, {rate:.1f} runs a second"
    )
    rows = [
        ["peers in a run, crashes", f"{s.peers:.1f}", f"{s.crashes:.1f}"],
        ["all known after the storm (p50, p99)", f"{s.converge_p50:.1f} s", f"{s.converge_p99:.1f} s"],
        ["all done after the storm (p50, p99)", f"{s.rest_p50:.1f} s", f"{s.rest_p99:.1f} s"],
        ["sent by a peer (messages, bytes)", f"{s.messages_per_peer:,.0f}", size(s.bytes_per_peer)],
        ["records that a peer holds", f"{s.records_per_peer:,.0f}", ""],
        ["tasks, times that one was begun", f"{s.tasks:,}", f"{s.task_runs:,}"],
        ["work done over again", f"{100 * s.wasted:.2f} %", ""],
        ["taken over from the dead (p50, p99)", f"{s.takeover_p50:.1f} s", f"{s.takeover_p99:.1f} s"],
    ]
    if s.attacks:
        rows.append(["attacks, what was refused", f"{s.attacks:,}", f"{s.rejected:,}"])
    rows.append(["digest of all that happened", s.digest, ""])
    session.out.table([Column(""), Column("", "right", whole=True), Column("", "right", whole=True)], rows)


def growth(session: Session, rows: Sequence[Growth], checks: Sequence[Growth], far: Growth) -> None:
    """How it grows; what the model says where it was simulated too, and beyond."""
    off = {check.peers: law.off(check, row) for check, row in zip(checks, rows[1:], strict=True)}
    if session.json:
        session.out.data({"simulated": rows, "model": {"checks": checks, "off": off, "beyond": far}})
        return
    table = []
    for title, names, shown in FIGURES:
        cells = [" ".join(shown(getattr(row, name)) for name in names) for row in rows]
        grown = " ".join(f"{law.exponent(rows[0], rows[-1], name):.2f}" for name in names)
        error, beyond = "", ""
        if all(name in law.PREDICTED for name in names):
            error = " ".join(_off(off[rows[-1].peers].get(name)) for name in names)
            beyond = " ".join(shown(getattr(far, name)) for name in names)
        table.append([title, *cells, grown, error, beyond])
    titles = [*(f"{row.peers:,}" for row in rows), "n^", "model off", f"{far.peers:,}"]
    session.out.table([Column("peers"), *(Column(title, "right", whole=True) for title in titles)], table)
    session.out.say("n^: the power of the number of peers with which it grows; two figures: p50, p99")
    session.out.say(
        f"model: how far it is off at {rows[-1].peers:,}, fitted to the others; {far.peers:,}: what it says of so many"
    )


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value else "–"


def _off(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.0f} %"


FIGURES: tuple[tuple[str, tuple[str, ...], Callable[[float], str]], ...] = (
    ("a job known, s", ("spread_p50", "spread_p99"), _seconds),
    ("converged, s", ("converge_p50", "converge_p99"), _seconds),
    ("gossip a task", ("gossip",), lambda v: f"{v:.1f}"),
    ("frames a second", ("streams",), lambda v: f"{v:.2f}"),
    ("bytes a second", ("bytes",), size),
    ("records kept", ("records",), lambda v: f"{v:,.0f}"),
    ("done again", ("wasted",), lambda v: f"{100 * v:.2f} %"),
    ("taken over, s", ("takeover_p50", "takeover_p99"), _seconds),
    ("real time", ("seconds",), span),
)
"""Of one peer: what people read, the fields of `Growth`, and how a value is shown."""
