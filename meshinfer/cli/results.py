"""`meshinfer results`: everything a job found, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("results")
@click.argument("job")
@click.option("-d", "--dir", "folder", required=True, metavar="DIR", help="Where to write; made where it is missing.")
@click.option(
    "--annotate",
    type=click.IntRange(0, 64),
    default=0,
    metavar="N",
    help="Up to N frames with boxes drawn, from peers that allow it.",
)
@click.option("--force", is_flag=True, help="Write into a folder that holds other things; they stay.")
def results(session: Session, job: str, folder: str, annotate: int, force: bool) -> int:
    """Collect everything a job found into a folder.

    JOB is an id, the start of one, or a name. Writes a folder for each peer, detections.jsonl with all of them merged
    and sorted, coco.json, and summary.json. Where peers do not answer it writes what there is, says that it is partial
    and who is missing, and exits with 4.

    \b
    Example:
      meshinfer results people -d out/
      meshinfer results 3f2a -d out/ --annotate 12
    """
    from meshinfer.cli.export import Export
    from meshinfer.node.client import call

    target = Path(folder).expanduser().absolute()
    node = node_socket(session)
    with Export(target, force=force, pictures=annotate) as export:
        with call(node, "results", {"job": job, "annotate": annotate}) as conversation:
            for message in conversation:
                if event := message.get("event"):
                    export.event(event)
                elif task := message.get("task"):
                    export.task(task)
                elif picture := message.get("picture"):
                    export.picture(picture)
        answer = conversation.end
        counts = export.finish(answer)
        pictures = export.pictures
    if session.json:
        session.out.data({"dir": str(target), "pictures": pictures, **counts, **answer})
    else:
        _show(session, answer, counts, pictures, target, annotate)
    return _outcome(session, node, answer)


def _show(
    session: Session, answer: dict[str, Any], counts: dict[str, int], pictures: int, target: Path, wanted: int
) -> None:
    from meshinfer.cli.output import count, who
    from meshinfer.cli.views import show_job

    out = session.out
    show_job(out, answer.get("job") or {})
    found = f"{count(counts['detections'], 'detection')} in {count(counts['frames'], 'frame')}"
    drawn = f", {count(pictures, 'annotated frame')}" if wanted else ""
    out.say(f"wrote {found}{drawn} to {target}", "bold")
    for peer in answer.get("pixels_refused") or ():
        out.say(f"{who(peer)} lets no pixels leave (policy.share_pixels there): no annotated frames of it", "dim")


def _outcome(session: Session, node: Path, answer: dict[str, Any]) -> int:
    from meshinfer.cli.output import count, who
    from meshinfer.cli.views import explain_nothing

    view, missing = answer.get("job") or {}, answer.get("missing") or []
    tasks = view.get("tasks") or {}
    if not tasks.get("total"):
        explain_nothing(session, node, view)
        return 4 if missing else 1
    unfinished = int(tasks["total"]) - int(tasks.get("done", 0)) - int(tasks.get("failed", 0))
    if answer.get("partial") or missing or unfinished:
        state = str(view.get("state"))
        ended = f" (it was {state})" if state in ("cancelled", "expired") else ""
        away = [
            p for p in view.get("peers") or () if not p.get("connected", True) and p.get("done", 0) < p.get("tasks", 0)
        ]
        names = {str(p.get("peer")): who(p) for p in (*missing, *away)}
        reasons = [f"not heard from {', '.join(names.values())}"] if names else []
        reasons += [f"{unfinished} of {count(tasks['total'], 'task')} not done{ended}"] if unfinished else []
        again = "" if ended else "; run it again later, it replaces what it wrote"
        session.out.note(f"PARTIAL: {'; '.join(reasons) or 'the job goes on'}{again}")
        return 4
    return 1 if tasks.get("failed") else 0
