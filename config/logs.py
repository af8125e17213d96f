"""A last guard against personal data in our logs."""

from __future__ import annotations

import logging
import re

_MAIL = re.compile(r"[\w.+%-]+@[\w-]+\.[\w.-]+")


class NoPersonalData(logging.Filter):
    """Replaces mail addresses in messages, arguments and traceback texts; lets every record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        record.msg, record.args = _MAIL.sub("[mail]", message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = _MAIL.sub("[mail]", record.exc_text)
        return True
