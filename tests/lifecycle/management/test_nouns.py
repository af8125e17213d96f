"""Exit codes and the one JSON document of every NOUN VERB command, through the real command line and in process."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection

from compliance.errors import Refused
from lifecycle.management.nouns import Answer, Failure, NounCommand, Options, misuse, plain, table
from lifecycle.management.people import acting_user, add_as
from lifecycle.systems.base import Permanent


class Noun(NounCommand):
    """A noun whose verbs end in every way there is."""

    def add_verbs(self) -> None:
        for name in (
            "answer",
            "code",
            "refused",
            "absent",
            "permanent",
            "misused",
            "down",
            "unmigrated",
            "bug",
        ):
            parser = self.verb(name, getattr(self, name), name)
            if name == "answer":
                parser.add_argument("--number", type=int, required=True)
                add_as(parser, required=False)

    def answer(self, options: Options) -> Any:
        return {"number": options["number"], "list": [1, "zwei"]}

    def code(self, _options: Options) -> Any:
        return Answer({"healthy": False}, ["Not healthy."], code=1)

    def refused(self, _options: Options) -> Any:
        raise Refused("You filed it yourself.", "Ask somebody else.")

    def absent(self, _options: Options) -> Any:
        return User.objects.get(pk=-1)

    def permanent(self, _options: Options) -> Any:
        raise Permanent("No such system.")

    def misused(self, _options: Options) -> Any:
        raise misuse("Give --user or --category, not both.")

    def down(self, _options: Options) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(5)")

    def unmigrated(self, _options: Options) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT coming FROM compliance_legalhold")

    def bug(self, _options: Options) -> Any:
        raise ZeroDivisionError


def called(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of `manage.py noun WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    try:
        Noun(stdout=out, stderr=err, no_color=True).run_from_argv(["manage.py", "noun", *words])
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("verb", "code", "reasons"),
    [
        ("refused", 1, ["You filed it yourself.", "Ask somebody else."]),
        ("permanent", 1, ["No such system."]),
        ("misused", 2, ["Give --user or --category, not both."]),
    ],
)
def test_what_can_not_be_done(verb: str, code: int, reasons: list[str]) -> None:
    assert called(verb) == (code, "", "".join(f"{reason}\n" for reason in reasons))
    found, out, err = called(verb, "--json")
    assert (found, json.loads(out)) == (code, {"error": {"reasons": reasons}})
    assert err.splitlines() == reasons


@pytest.mark.django_db
def test_an_unknown_id() -> None:
    assert called("absent") == (1, "", "There is no such user. Check the id.\n")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verb", "reason"),
    [("down", "The control database does not answer."), ("unmigrated", "run `manage.py migrate` first.")],
)
def test_a_database_that_does_not_serve_is_a_sentence(verb: str, reason: str) -> None:
    code, out, err = called(verb)
    assert (code, out) == (1, "")
    assert reason in err


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["answer"], ["answer", "--number", "x"], ["answer", "--number", "1", "--no"]]
)
def test_misuse_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(*words)
    assert (code, out) == (2, "")
    assert "usage: manage.py noun" in capsys.readouterr().err


def test_an_error_nobody_foresaw_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        called("bug")


def test_an_answer() -> None:
    assert called("answer", "--number", "3", "--json") == (0, '{"number": 3, "list": [1, "zwei"]}\n', "")
    assert called("answer", "--number", "3") == (0, "number: 3\nlist:\n  1\n  zwei\n", "")
    assert called("code", "--json") == (1, '{"healthy": false}\n', "")
    assert called("code") == (1, "Not healthy.\n", "")


def test_in_process_it_raises() -> None:
    with pytest.raises(Failure, match="You filed it yourself") as failure:
        call_command(Noun(), "refused")
    assert failure.value.returncode == 1


def test_lines_for_people() -> None:
    assert plain({"a": None, "b": {"c": True}, "d": []}) == ["a: -", "b:", "  c: yes", "d: -"]
    assert table(("id", "n"), [("x", 10), ("long", "")]) == ["id    n", "x     10", "long  -"]


@pytest.fixture
def anna(db: None) -> User:
    user = User.objects.create_user("anna", password="correct horse battery")
    user.groups.add(Group.objects.get_or_create(name="legal")[0])
    return user


def test_on_a_local_stack_as_is_taken_at_its_word(anna: User) -> None:
    with pytest.raises(Refused, match="no active user 'otto'"):
        acting_user({"as_user": "otto"})
    with pytest.raises(Refused, match="--as USER"):
        acting_user({"as_user": None})
    actor = acting_user({"as_user": "anna"})
    assert (actor.name, actor.roles, actor.user_id, actor.via) == (
        "anna",
        frozenset({"legal"}),
        anna.pk,
        "cli",
    )

    anna.is_active = False
    anna.save()
    with pytest.raises(Refused, match="no active user"):
        acting_user({"as_user": "anna"})


@pytest.mark.parametrize("given", ["", "wrong\n", "\n"])
def test_elsewhere_it_needs_the_password(
    anna: User, settings: Any, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    settings.LOCAL_STACK = False
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    with pytest.raises(Refused, match="don't match"):
        acting_user({"as_user": "anna"})


def test_elsewhere_with_the_password(anna: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOCAL_STACK = False
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert acting_user({"as_user": "anna"}).name == "anna"
