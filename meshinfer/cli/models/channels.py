"""`meshinfer models channels`: what each channel stands for, and how its roll-out goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket

if TYPE_CHECKING:
    from meshinfer.cli.output import Output

STYLES = {"wait": "cyan", "promote": "green", "lapse": "yellow", "rollback": "red"}
WORDS = {"wait": "is being tried", "promote": "proved good", "lapse": "showed too little", "rollback": "was taken back"}


@verb("channels")
@click.argument("channel", required=False)
def channels(session: Session, channel: str | None) -> None:
    """Show the channels, and how roll-outs go.

    \b
    Example:
      meshinfer models channels
      meshinfer models channels yard-detector:stable --json
    """
    from meshinfer.node.client import ask

    answer = ask(node_socket(session), "channels", {"channel": channel} if channel else {})
    if session.json:
        session.out.data(answer)
        return
    known = answer.get("channels") or []
    if not known:
        session.out.say("no channels yet: `meshinfer models promote MODEL` makes one")
        return
    show(session.out, known)


def show(out: Output, known: list[dict[str, Any]]) -> None:
    """A line for each channel, and its roll-out below: who tried what, and what came of it."""
    from meshinfer.cli.output import Column, clean, span

    titles = ("CHANNEL", "MODEL", "CANDIDATE", "SHARE", "SINCE", "BY")
    rows = []
    for channel in known:
        trial = channel.get("trial") or {}
        tries = channel.get("move") == "try"
        rows.append(
            [
                clean(channel.get("channel", "?")),
                _reference(channel.get("model")),
                _reference(trial.get("candidate")) if tries else "–",
                f"{float(trial.get('share', 0)):.1%}" if tries else "–",
                span(round(float(channel.get("since", 0)))),
                clean(channel.get("by_name") or ""),
            ]
        )
    out.table([Column(title, whole=title in ("SHARE", "SINCE")) for title in titles], rows)
    for channel in known:
        if trial := channel.get("trial"):
            _show_trial(out, channel, trial)
        elif channel.get("why"):
            out.say(f"{clean(channel.get('channel', '?'))}: {channel['why']}", "dim")


def _show_trial(out: Output, channel: dict[str, Any], trial: dict[str, Any]) -> None:
    from meshinfer.cli.output import Column, clean, count, span, who

    under_way = channel.get("move") == "try"
    verdict = str(trial.get("verdict", "wait"))
    said = WORDS["wait"] if under_way else WORDS.get(verdict, verdict)
    left = f", {span(round(float(trial.get('left', 0))))} left" if under_way else ""
    peers = [who(peer) for peer in trial.get("peers") or ()]
    names = ", ".join(peers[:5]) + (f" and {len(peers) - 5} more" if len(peers) > 5 else "")
    out.say(
        f"{clean(channel.get('channel', '?'))}: {_reference(trial.get('candidate'))} {said} on "
        f"{count(len(peers), 'peer')} ({names}){left}: {trial.get('why') or 'no reason given'}",
        STYLES.get(verdict, ""),
    )
    sides = [(f"candidate at {who(each)}", each.get("tried")) for each in trial.get("each") or ()]
    sides += [(f"before at {who(each)}", each["before"]) for each in trial.get("each") or () if each.get("before")]
    if not sides:
        return
    sides.append(("all others", trial.get("rest")))
    titles = ("TASKS", "FAILED", "FRAMES", "FRAMES/S", "PER FRAME", "MEAN SCORE")
    rows = [[name, *_figures(tally or {})] for name, tally in sides]
    out.table([Column(""), *(Column(title, "right", whole=True) for title in titles)], rows)


def _figures(tally: dict[str, Any]) -> list[str]:
    whole = [f"{int(tally.get(key, 0)):,}" for key in ("tasks", "errors", "frames")]
    return [*whole, f"{tally.get('fps', 0):.1f}", f"{tally.get('per_frame', 0):.2f}", f"{tally.get('score', 0):.2f}"]


def _reference(named: object) -> str:
    from meshinfer.cli.output import clean

    return clean(named.get("reference") or "?") if isinstance(named, dict) else "?"
