"""Commands of the form `manage.py NOUN VERB`: one answer for people or, with --json, for programs.

Exit codes: 0 done, 1 refused or failed (sentences on standard error), 2 misused.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import OperationalError, ProgrammingError
from psycopg2.errors import UndefinedColumn, UndefinedTable

from compliance.errors import Refused
from lifecycle.systems.base import Permanent, Transient

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found: a JSON document, the same as lines for people, and the exit code."""

    document: Any
    lines: Sequence[str] | None = None
    code: int = 0


class Failure(CommandError):
    """Sentences that say what went wrong; ends the command with `returncode`."""

    def __init__(self, *reasons: str, returncode: int = 1) -> None:
        self.reasons = list(reasons)
        super().__init__("\n".join(self.reasons), returncode=returncode)


class NounCommand(BaseCommand):
    """A noun. Subclasses add their verbs in `add_verbs`; a verb is a function from options to an Answer or document."""

    requires_system_checks = ()
    _called_from_command_line: bool  # Django sets it

    def add_verbs(self) -> None:
        """Calls `self.verb(name, function, help)` for each verb and adds arguments to what it returns."""
        raise Permanent(f"The command {type(self).__module__} has no verbs.")

    def verb(self, name: str, function: Callable[[Options], Any], help_: str) -> ArgumentParser:
        """Adds a verb; `--json` comes with it."""
        made: ArgumentParser = self._subparsers.add_parser(name, help=help_, description=help_)
        made.set_defaults(verb_function=function)
        made.add_argument(
            "--json", action="store_true", dest="as_json", help="one JSON document on standard output"
        )
        return made

    def add_arguments(self, parser: CommandParser) -> None:
        self._subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        self.add_verbs()

    def handle(self, *_args: Any, **options: Any) -> None:
        """Runs the verb and prints its answer. Raises Failure, with its exit code, when it can't be done."""
        try:
            found = options["verb_function"](options)
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            self._end(failure, options)
            return
        answer = found if isinstance(found, Answer) else Answer(found)
        self._print(answer, as_json=options["as_json"])
        if answer.code:
            self._leave(answer.code)

    def _end(self, failure: Failure, options: Options) -> None:
        if options["as_json"]:
            self.stdout.write(_json({"error": {"reasons": failure.reasons}}))
        if not self._called_from_command_line:
            raise failure
        for reason in failure.reasons:
            self.stderr.write(reason)
        sys.exit(failure.returncode)

    def _leave(self, code: int) -> None:
        if not self._called_from_command_line:
            raise Failure("The answer is above.", returncode=code)
        self.stdout.flush()
        sys.exit(code)

    def _print(self, answer: Answer, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(_json(answer.document))
        else:
            for line in answer.lines if answer.lines is not None else plain(answer.document):
                self.stdout.write(line)


def _failure(error: Exception) -> Failure | None:
    """The failure that an error of ours stands for; None for one that nobody foresaw."""
    match error:
        case Failure():
            return error
        case Refused():
            return Failure(*error.reasons)
        case CommandError():
            return Failure(str(error), returncode=error.returncode)
        case ObjectDoesNotExist():
            return Failure(f"There is no such {_thing(error)}. Check the id.")
        case ValidationError():
            return Failure(*error.messages)
        case Permanent() | Transient() | TimeoutError():
            return Failure(str(error))
        case OperationalError():
            return Failure(
                "The control database does not answer. See that it is up (`make stack` on a local one) and that DATABASE_URL "
                "is right."
            )
        case ProgrammingError() if isinstance(error.__cause__, UndefinedTable | UndefinedColumn):
            return Failure("The control database is not of this version: run `manage.py migrate` first.")
    return None


def _thing(absent: ObjectDoesNotExist) -> str:
    """What was looked for: `LegalHold.DoesNotExist` is about a legal hold."""
    model = type(absent).__qualname__.partition(".")[0]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model).lower()


def misuse(*reasons: str) -> Failure:
    """The failure of a command that was called wrongly (exit code 2)."""
    return Failure(*reasons, returncode=2)


def plain(document: Any, indent: str = "") -> list[str]:
    """A document as lines for people: `name: value`, nested ones indented, lists as blocks."""
    if isinstance(document, Mapping):
        lines: list[str] = []
        for name, value in document.items():
            if isinstance(value, Mapping | list) and value:
                lines += [f"{indent}{name}:", *plain(value, indent + "  ")]
            else:
                lines.append(f"{indent}{name}: {_word(value)}")
        return lines
    if isinstance(document, list):
        return [line for each in document for line in plain(each, indent)]
    return [f"{indent}{_word(document)}"]


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns of equal width, for people."""
    cells = [list(heads), *[[_word(value) for value in row] for row in rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _word(value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _json(document: Any) -> str:
    return json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False)
