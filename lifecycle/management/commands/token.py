"""`manage.py token VERB`: issue, revoke, list the API's bearer tokens."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from compliance.actions import tokens
from compliance.models import ApiToken
from lifecycle.management.nouns import Answer, NounCommand, Options, table
from lifecycle.management.people import acting_user, add_as


class Command(NounCommand):
    """The command line's door to tokens; who may have which is decided by `compliance.actions.tokens`."""

    help = "Bearer tokens of the API: issue, revoke, list."

    def add_verbs(self) -> None:
        issue = self.verb("issue", self.issue, "issue a token; its text is shown this once")
        issue.add_argument("--user", required=True, metavar="NAME", help="the account that it acts for")
        issue.add_argument("--tenant", required=True, help="the one tenant that it sees")
        issue.add_argument("--name", required=True, help="what it is for")
        issue.add_argument(
            "--scope", action="append", required=True, choices=ApiToken.Scope.values, help="may be repeated"
        )
        issue.add_argument(
            "--requested-by", default="", metavar="MAIL", help="the one requester that it may ask for"
        )
        issue.add_argument("--days", type=int, default=90, help="how long it lives (default 90)")
        add_as(issue)
        revoke = self.verb("revoke", self.revoke, "end a token at once")
        revoke.add_argument("id", metavar="ID", type=int)
        add_as(revoke)
        listing = self.verb("list", self.list_, "tokens, without their text")
        listing.add_argument("--tenant")

    def issue(self, options: Options) -> dict[str, Any]:
        """The token with its clear text."""
        actor = acting_user(options)
        token, clear = tokens.issue(
            actor=actor,
            user=User.objects.get(username=options["user"]),
            tenant_id=options["tenant"],
            name=options["name"],
            scopes=options["scope"],
            requested_by=options["requested_by"],
            days=options["days"],
        )
        return {**_row(token), "token": clear}

    def revoke(self, options: Options) -> dict[str, Any]:
        """It opens nothing from now on."""
        return _row(tokens.revoke(ApiToken.objects.get(pk=options["id"]), actor=acting_user(options)))

    def list_(self, options: Options) -> Answer:
        """The newest first."""
        found = ApiToken.objects.select_related("user")
        if options["tenant"]:
            found = found.filter(tenant_id=options["tenant"])
        rows = [_row(each) for each in found]
        heads = ("id", "name", "user", "tenant", "scopes", "expires_at", "standing")
        shown = [[row[head] if head != "scopes" else ",".join(row[head]) for head in heads] for row in rows]
        return Answer(rows, table(heads, shown))


def _row(token: ApiToken) -> dict[str, Any]:
    over = "expired" if token.expires_at <= timezone.now() else "valid"
    return {
        "id": token.pk,
        "name": token.name,
        "user": token.user.username,
        "tenant": token.tenant_id,
        "scopes": token.scopes,
        "expires_at": f"{token.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "last_used_at": f"{token.last_used_at:%Y-%m-%dT%H:%M:%SZ}" if token.last_used_at else None,
        "standing": "revoked" if token.revoked_at else over,
    }
