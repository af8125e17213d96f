"""`manage.py run VERB`: look at durable runs and steer them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from compliance import statements
from lifecycle.engine import progress, runs
from lifecycle.management.nouns import Answer, NounCommand, Options, table
from lifecycle.management.people import acting_user, add_as
from lifecycle.models import Run


class Command(NounCommand):
    """Engineers' door to the engine; what may be done is decided by `lifecycle.engine.runs`."""

    help = "Durable runs: list, show, pause, resume, cancel, retry, execute."

    def add_verbs(self) -> None:
        listing = self.verb("list", self.list_, "the newest runs")
        listing.add_argument("--state", choices=Run.State.values, help="only runs in this state")
        listing.add_argument("--subject", help="only runs of this request or hold")
        add_as(listing, required=False)
        listing.add_argument("--limit", type=int, default=50, help="how many (default 50)")
        add_as(self._of_run("show", self.show, "one run with its steps, rate and time left"), required=False)
        for name, function, text in (
            ("pause", self.pause, "start no further slice; paused once nobody works on it"),
            ("resume", self.resume, "take up a paused or blocked run"),
            ("cancel", self.cancel, "stop, undo what was made, end as cancelled"),
            ("retry", self.retry, "try failed steps again"),
        ):
            parser = self._of_run(name, function, text)
            add_as(parser)
            if name == "retry":
                parser.add_argument("--lane", help="only the failed steps of this lane")
        execute = self._of_run(
            "execute", self.execute_, "work one run to its end in this process (exit code 0: done)"
        )
        execute.add_argument("--timeout", type=float, help="give up after so many seconds")

    def _of_run(self, name: str, function: Any, text: str) -> Any:
        parser = self.verb(name, function, text)
        parser.add_argument("id", metavar="RUN")
        return parser

    def list_(self, options: Options) -> Answer:
        """The newest runs."""
        found = _seen(options).order_by("-created_at")
        if options["state"]:
            found = found.filter(state=options["state"])
        if options["subject"]:
            found = found.filter(subject=options["subject"])
        shown = [progress.describe(run, steps=False) for run in found[: max(0, options["limit"])]]
        heads = ("id", "workflow", "subject", "tenant", "state", "created_at", "reason")
        return Answer(shown, table(heads, [[each[head] for head in heads] for each in shown]))

    def show(self, options: Options) -> Answer:
        """One run."""
        return _shown(_run(options))

    def pause(self, options: Options) -> Answer:
        """Pauses."""
        return _shown(runs.pause(_run(options), actor=acting_user(options)))

    def resume(self, options: Options) -> Answer:
        """Resumes."""
        return _shown(runs.resume(_run(options), actor=acting_user(options)))

    def cancel(self, options: Options) -> Answer:
        """Cancels."""
        return _shown(runs.cancel(_run(options), actor=acting_user(options)))

    def retry(self, options: Options) -> Answer:
        """Retries."""
        return _shown(runs.retry(_run(options), actor=acting_user(options), lane=options["lane"]))

    def execute_(self, options: Options) -> Answer:
        """Works a run to its end here."""
        ended = runs.execute(_run(options), timeout=options["timeout"])
        return _shown(ended, code=0 if ended.state == Run.State.DONE else 1)


def _seen(options: Options) -> QuerySet[Run]:
    """Without what works on a hidden hold, unless somebody of legal looks."""
    viewer = acting_user(options) if options.get("as_user") else None
    return Run.objects.exclude(subject__in=statements.veil(viewer).holds)


def _run(options: Options) -> Run:
    return _seen(options).get(pk=options["id"])


def _shown(run: Run, code: int = 0) -> Answer:
    document = progress.describe(run)
    heads = (
        "stage",
        "name",
        "lane",
        "state",
        "done",
        "total",
        "unit",
        "rate",
        "eta_seconds",
        "attempts",
        "seconds",
        "why",
    )
    top = f"{run.pk}  {run.workflow} of {run.subject}  {run.state}" + (
        f": {run.reason}" if run.reason else ""
    )
    rows = [[step[head] for head in heads] for step in document["steps"]]
    return Answer(document, [top, *table(heads, rows)], code)
