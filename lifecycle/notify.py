"""Tells a team at once: mail to its address, and Slack, PagerDuty and others through Apprise. No personal data."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.mail import send_mail

log = logging.getLogger(__name__)


def team(name: str, title: str, body: str) -> int:
    """Sends to every address of team `name` (legal, compliance, engineering). Returns how many channels took it.

    A channel that fails is logged by its number, and never stops what it reports on.
    """
    taken = 0
    mail = getattr(settings, "TEAM_MAIL", {}).get(name)
    if mail:
        try:
            taken += send_mail(title, body, settings.DEFAULT_FROM_EMAIL, [mail])
        except OSError as failure:
            log.error("mail to team %s failed: %s", name, type(failure).__name__)
    urls = settings.NOTIFY_URLS.get(name, [])
    if urls:
        import apprise  # here: every command loads this module, few send anything
    for number, url in enumerate(urls):
        channel = apprise.Apprise()
        if channel.add(url) and channel.notify(title=title, body=body):
            taken += 1
        else:
            log.error("channel %s of team %s did not take the message", number, name)
    return taken
