"""What the API takes and gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_date
from rest_framework import serializers

from compliance import statements
from compliance.actors import Actor
from compliance.models import ErasureRequest, LegalHold

Plain = serializers.Serializer[Any]


class LastMoment(serializers.DateTimeField):
    """A time or a day; a day counts to its end in UTC."""

    def to_internal_value(self, value: Any) -> datetime:
        """The moment. Raises ValidationError for anything else."""
        try:
            day = parse_date(value) if isinstance(value, str) and len(value) == 10 else None
        except ValueError:
            day = None
        if day is not None:
            return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
        return super().to_internal_value(value)


class NewRequest(Plain):
    """An erasure that is asked for. The tenant is the token's."""

    user = serializers.CharField(
        required=False, allow_blank=True, help_text="One user; the whole tenant where it is missing."
    )
    requested_by = serializers.EmailField(help_text="The mail address that the token may ask for.")
    regime = serializers.ChoiceField(choices=ErasureRequest.Regime.choices, default="gdpr17")
    ground = serializers.ChoiceField(choices=[(each, each) for each in "abcdef"], default="b")
    received_at = serializers.DateTimeField(required=False)
    reason = serializers.CharField(required=False, allow_blank=True, default="")
    signature = serializers.CharField(required=False)


class Brief(Plain):
    """A request in short."""

    id = serializers.CharField()
    state = serializers.CharField()
    deadline = serializers.DateTimeField()
    reason = serializers.CharField()


class Digest(Plain):
    """The digest of the preview that was looked at."""

    digest = serializers.CharField(min_length=64, max_length=64)


class Reason(Plain):
    """Why."""

    reason = serializers.CharField(allow_blank=False)


class OptionalReason(Plain):
    """Why, where somebody wants to say."""

    reason = serializers.CharField(required=False, allow_blank=True, default="")


class Retry(Plain):
    """What to try again."""

    system = serializers.CharField(required=False, help_text="Only this system.")


class Lane(Plain):
    """Which steps of a run to try again."""

    lane = serializers.CharField(required=False, help_text="Only the failed steps of this lane.")


class MentionChoice(Plain):
    """An officer's decision on one mention."""

    mention = serializers.IntegerField()
    choice = serializers.ChoiceField(choices=["erase", "redact", "not_this_person"])


class Settlement(Plain):
    """How a recipient was settled."""

    recipient = serializers.CharField()
    state = serializers.ChoiceField(choices=["erased", "notified", "attested"])
    evidence = serializers.CharField()


class NewHold(Plain):
    """A legal hold that is placed. The tenant is the token's."""

    user = serializers.CharField(required=False, allow_blank=True)
    category = serializers.CharField(required=False, allow_blank=True, default="")
    case = serializers.CharField(help_text="The legal team's own reference.")
    type = serializers.ChoiceField(choices=LegalHold.Type.choices)
    until = LastMoment(required=False)
    confidential = serializers.BooleanField(default=False)
    reason = serializers.CharField(required=False, allow_blank=True, default="")


class Hold(Plain):
    """A hold in short."""

    id = serializers.CharField()
    state = serializers.CharField()
    preserved = serializers.JSONField()
    already_gone = serializers.JSONField()
    in_doubt = serializers.JSONField(
        help_text="{system: deletions} sent before the hold and never answered: its server may still end them."
    )


class Document(Plain):
    """A JSON document, as the command line's `--json` prints it."""


def brief(request: ErasureRequest, viewer: Actor) -> dict[str, Any]:
    """A request as `Brief`, as far as the viewer may know it."""
    return {
        "id": request.pk,
        "state": statements.shown_code(request, viewer),
        "deadline": f"{request.deadline:%Y-%m-%dT%H:%M:%SZ}",
        "reason": request.state_reason,
    }
