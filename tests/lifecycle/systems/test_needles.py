"""Identifiers are found in every spelling, and never inside a longer identifier of somebody else."""

from __future__ import annotations

import base64
import json
import unicodedata
from urllib.parse import quote

import pytest

from lifecycle.systems.base import Scope, Subject
from lifecycle.systems.needles import Needles

NEEDLES = Needles(["u-1"], ["Ann.Lee@mail.example"], ["Zoé Müller"], ["canary0123"], ["u-1-2"])


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FOUND: dict[str, list[str | bytes]] = {
    "id": [
        "u-1",
        "tenant-1/user-u-1/x",
        "U-1",
        "u-1.log",
        '{"a": ["u-1"]}',
        "by%2Fu-1",
        "a\\nu-1",
        b64('{"user_id": "u-1"}'),
    ],
    "mail": [
        "<ann.lee@mail.example>",
        "ANN.LEE@MAIL.EXAMPLE.",
        "out/ann.lee@mail.example.csv.gz",
        "ann.lee%40mail.example",
        "x%3Dann.lee%2540mail.example",
        *(b64("x" * pad + " ann.lee@mail.example") for pad in range(3)),
        base64.urlsafe_b64encode(b"\xff\xfe;ann.lee@mail.example;").decode(),
        b"\x00\xffAnn.Lee@mail.example\x00",
        b"ann.lee@mail.example".hex(),
    ],
    "name": [
        "zoé müller",
        "ZOÉ MÜLLER",
        unicodedata.normalize("NFD", "Zoé Müller"),
        "Müller, Zoé",
        "zoé_müller",
        quote("Zoé Müller"),
        json.dumps("Zoé Müller"),
        "zoé\nmüller",
    ],
    "canary": ["xcanary0123x", b"\xffCANARY0123\xff"],
}
ABSENT = [
    "u-12",
    "u-1-2",
    "user-u-1-2/x",
    "au-1",
    "u-11",
    "joann.lee@mail.example",
    "ann.lee@mail.example.org",
    "ann.lee@mail.example.csv.org",
]
ABSENT += [
    "x.ann.lee@mail.example",
    "Zoé Müllerin",
    b64("ann.lee@mail.examples"),
    b64('{"user_id": "u-12"}'),
    "canary012",
    "",
]


@pytest.mark.parametrize("kind", FOUND)
def test_every_spelling_is_found(kind: str) -> None:
    for text in FOUND[kind]:
        found = NEEDLES.find(text)
        assert found is not None, text
        assert found.kind == kind, text


@pytest.mark.parametrize("text", ABSENT)
def test_a_longer_identifier_is_somebody_else(text: str) -> None:
    assert NEEDLES.find(text) is None


def test_every_match_holds_a_literal_and_a_seed() -> None:
    """The promise that server-side prefilters stand on."""
    for text in (text for texts in FOUND.values() for text in texts):
        low = (text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text).lower()
        assert any(literal in low for literal in NEEDLES.literals), text
        assert any(seed in low for seed in NEEDLES.seeds), text


def test_a_short_id_matches_only_as_a_user_id() -> None:
    needles = Needles(["7"], [], [], [])
    assert all(
        needles.find(text) for text in ("7", '"7"', "user-7/", '{"user_id": "7"}', '{"user_id":7}', "uid=7")
    )
    assert not any(needles.find(text) for text in ("17", "room 7", "user-71", "7.5", "1,7,9"))


def test_other_tenants_data_and_whole_tenants() -> None:
    namesakes = Scope(Subject("1", "anna"), anchors={"namesakes": ("17",)})
    assert Needles.of(namesakes).find("anna")
    assert not Needles.of(namesakes, foreign=True)
    assert Needles.of(Scope(Subject("1", "anna")), foreign=True).find("anna")
    assert not Needles.of(Scope(Subject("1")))


def test_the_excerpt_shows_the_match_in_its_place() -> None:
    text = "a" * 100 + " u-1 " + "b" * 100
    found = NEEDLES.find(text)
    assert found is not None
    assert " u-1 " in NEEDLES.excerpt(text, found)
    assert len(NEEDLES.excerpt(text, found)) < 130
