"""A workflow whose steps do what a test says, and a postman who delivers its messages in this process."""

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from compliance.actors import Actor
from compliance.models import AuditEvent
from compliance.models.base import new_id
from lifecycle import tasks
from lifecycle.engine import runs
from lifecycle.engine.outcomes import Done, Outcome
from lifecycle.engine.workflow import Context, StepSpec, Workflow, register, register_undo
from lifecycle.models import Run, Step

ENGINEER = Actor("ann", frozenset({"engineer"}), None, "shell")
AUDITOR = Actor("arno", frozenset({"auditor"}), None, "shell")
Act = Outcome | Exception | Callable[[Context], Outcome]


class Toy:
    """`script[(name, lane)]` is what each slice of a step does, in order; a step with no script is done at once."""

    def __init__(self) -> None:
        self.script: dict[tuple[str, str], list[Act]] = {}
        self.slices: list[str] = []
        self.states: list[str] = []
        self.undone: list[Any] = []
        self.undo_errors: list[Exception] = []
        self.broken: list[AssertionError] = []
        self.closed: str | None = None
        self.plan: list[tuple[str, int, str]] = [("only", 1, "")]
        register(Workflow("toy", self._steps, gate=lambda _run: self.closed, on_state=self._on_state))
        register_undo("toy.undo", self._undo)

    def start(self, *plan: tuple[str, int, str]) -> Run:
        """A new run of these (name, stage, lane)."""
        self.plan = list(plan) or self.plan
        return runs.start("toy", new_id("er"), tenant_id="t1", actor=ENGINEER)

    def does(self, name: str, *acts: Act, lane: str = "") -> None:
        """What the next slices of a step do."""
        self.script[(name, lane)] = list(acts)

    def _steps(self, _run: Run) -> list[StepSpec]:
        return [StepSpec(name, stage, lane=lane, run=self._slice) for name, stage, lane in self.plan]

    def _slice(self, context: Context) -> Outcome:
        step = context.step
        self.slices.append(f"{step.name} {step.lane}".rstrip())
        acts = self.script.get((step.name, step.lane), [])
        act = acts.pop(0) if acts else Done({"of": step.name})
        if isinstance(act, Exception):
            raise act
        try:
            return act(context) if callable(act) else act
        except AssertionError as error:
            self.broken.append(error)  # the engine would take it for a failure of the step
            raise

    def _on_state(self, run: Run) -> None:
        self.states.append(run.state)

    def _undo(self, _run: Run, arguments: Any) -> None:
        if self.undo_errors:
            raise self.undo_errors.pop(0)
        self.undone.append(arguments["what"])


def deliver(most: int = 200) -> int:
    """Delivers every message that is due, as workers do, until none is. Returns how many."""
    delivered = 0
    while message := OrmQ.objects.filter(lock__lte=timezone.now()).first():
        delivered += 1
        assert delivered <= most, "messages never end"
        task = SignedPackage.loads(message.payload)
        assert task["func"] == "lifecycle.tasks.advance"
        assert [type(each) for each in task["args"]] == [int]
        assert task["kwargs"] == {}
        tasks.advance(*task["args"])
        message.delete()
    return delivered


def step(run: Run, name: str = "only", lane: str = "") -> Step:
    """A step as the database has it now."""
    return Step.objects.select_related("run").get(run=run, name=name, lane=lane)


def state(run: Run) -> str:
    """A run's state as the database has it now."""
    return Run.objects.get(pk=run.pk).state


def verbs(run: Run) -> list[str]:
    """What the audit says of a run, in order."""
    return list(AuditEvent.objects.filter(case_id=run.subject).order_by("seq").values_list("verb", flat=True))
