"""A certificate is refused where anything is open; what it says is in a closed list of words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compliance.certificate import canonical, document, wording
from compliance.errors import Refused
from tests.compliance.certificate import samples
from tests.compliance.certificate.making import identity


def refusal(evidence: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        document.build(evidence, identity())
    assert all(reason.endswith(".") for reason in caught.value.reasons)
    return " ".join(caught.value.reasons)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"state": "verifying"}, "stands at 'verifying'"),
        ({"verified_at": None}, "was not verified"),
        ({"residue": 3}, "still holds 3 items"),
        ({"residue": None}, "no residue count"),
        ({"residue": -1}, "no residue count"),
        ({"verifier": ""}, "Name both methods"),
        ({"state": "locked"}, "no locked_until"),
        ({"state": "pending_purge", "purge_by": None}, "no purge_by"),
        ({"erased": 5, "retained": 18_407}, "names the ground"),
        ({"erased": 18_410}, "2 of 18412 items found are neither"),
        ({"found": -1}, "is not a count"),
        ({"found": True}, "is not a count"),
        ({"method": "asked anna@example.com"}, "mail address in clear"),
    ],
)
def test_refuses_an_unfinished_line(line: dict[str, Any], reason: str) -> None:
    assert reason in refusal(samples.with_line(0, **line))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lines": []}, "no line of any system"),
        ({"lines": [samples.line("s3", 0)]}, "proves no erasure"),
        ({"canaries": {"planted": 9, "remaining": 1, "by_shape": {}}}, "1 of 9 planted markers"),
        ({"canaries": {"planted": 0, "remaining": 0, "by_shape": {}}}, "No marker was planted"),
        ({"bystanders": {"unchanged": 9, "changed": 0, "unexplained": 1}}, "changed unexplained"),
        (
            {"mentions": {"total": 3, "erased": 1, "redacted": 0, "not_this_person": 1}},
            "1 mentions of the subject are not decided",
        ),
        ({"approvals": []}, "No approval stands"),
        ({"as_of": "2026-11-25 19:03"}, "evidence.as_of is not a time"),
        ({"as_of": "2026-02-30T00:00:00Z"}, "evidence.as_of is not a time"),
        ({"manifest_digest": "x"}, "manifest_digest is not a hash"),
    ],
)
def test_refuses_open_evidence(changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(samples.user(**changes))


def test_refuses_a_recipient_that_is_not_settled() -> None:
    evidence = samples.user()
    evidence["recipients"][0]["state"] = "pending"
    assert "Settle it" in refusal(evidence)


@pytest.mark.parametrize("name", sorted(samples.USER.keys() - {"previous_certificate", "frozen_at"}))
def test_refuses_evidence_with_a_part_missing(name: str) -> None:
    evidence = samples.user()
    del evidence[name]
    assert f"evidence.{name} is missing" in refusal(evidence)


def test_a_later_round_may_find_nothing() -> None:
    quiet = samples.user(round=1, lines=[samples.line("s3", 0)])
    assert document.build(quiet, identity())["lines"][0]["statement"].startswith("erased, verified as of ")


def test_each_line_says_what_became_of_it() -> None:
    made = document.build(samples.partial(), identity())
    said = {line["system"]: line["statement"] for line in made["lines"]}
    assert said["redis"] == f"erased, verified as of {samples.T2}"
    assert said["pinecone"] == "logically deleted, provider purge by 2027-02-23"
    assert said["s3"] == "not erased: locked until 2028-05-01"
    assert "8 anonymised, attack score 0.01, no mapping kept" in said["postgresql"]
    assert "14 retained on Art. 17(3)(b), § 147(3) AO until 2033-12-31" in said["postgresql"]
    assert made["outcome"] == "partial"
    assert document.build(samples.user(), identity())["outcome"] == "complete"


@pytest.mark.parametrize("detail", [{}, {"attack_score": 0.2}, {"attack_score": 0.2, "mapping_kept": True}])
def test_without_a_score_or_with_a_mapping_it_is_a_pseudonym(detail: dict[str, Any]) -> None:
    assert wording.anonymisation(detail) == "pseudonymised, not erased"


def test_no_word_of_media_sanitisation_is_used() -> None:
    text = json.dumps(document.build(samples.partial(), identity()))
    for word in ("Clear", "Purge", "Destroy"):
        assert word not in text


def test_an_addendum_must_refer_to_a_certificate() -> None:
    given = {
        "request": {"id": "er-1", "tenant": "acme"},
        "as_of": samples.T0,
        "statement": "It is gone.",
        "closed": [],
    }
    with pytest.raises(Refused, match="refers to no certificate"):
        document.build_closing(given, identity(kind="addendum"))


def test_the_canonical_form_is_the_only_one() -> None:
    made = document.build(samples.user(), identity())
    data = canonical.encode(made)
    assert canonical.decode(data) == made
    for other in (data + b"\n", b" " + data, data.replace(b'"id":', b'"id": ', 1), json.dumps(made).encode()):
        with pytest.raises(ValueError, match="canonical"):
            canonical.decode(other)
    with pytest.raises(ValueError, match="floating-point"):
        canonical.encode({"a": [1.5]})
