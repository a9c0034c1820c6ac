"""Keeps credentials and long inputs out of the servers' logs.

A URL may contain an access token (``?token=``), and ``uvicorn --log-level trace`` logs the query
and the subprotocols of each request. Paths of 12 KB would let anyone fill the disk.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

CREDENTIALS = re.compile(
    r"""
      (?<=\btoken=) [^&\s"']+               # ?token=...
    | (?<=\bbearer[ .]) [^\s,"']+           # Authorization: Bearer ..., the subprotocol bearer....
    | \beyJ [\w-]* \. [\w-]* \. [\w-]*      # a JWT anywhere: RFC 7519, section 3
    """,
    re.VERBOSE | re.IGNORECASE,
)


MOST_CHARACTERS = 200
"""The longest argument of a log record, such as a path."""
DJANGO_LOGGERS = ["django.request", "django.security.csrf", "django.security.DisallowedHost"]
"""Django's loggers for what clients send. A filter does not apply to the children of a logger."""


def redact(text: str) -> str:
    """Return the text with ``[redacted]`` in place of each access token."""
    return CREDENTIALS.sub("[redacted]", text)


def shorten(text: str) -> str:
    """Return the text without credentials, and at most ``MOST_CHARACTERS`` of it."""
    text = redact(text)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


class RedactionFilter(logging.Filter):
    """Redacts log records, and shortens their arguments. It drops no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if arguments and all(isinstance(each, str | int | float | None) for each in arguments):
            # The arguments, and not the message: uvicorn's access log formats them itself.
            record.args = tuple(
                shorten(argument) if isinstance(argument, str) else argument
                for argument in arguments
            )
        elif record.name in DJANGO_LOGGERS and not arguments:  # such as an invalid host
            record.msg, record.args = shorten(record.getMessage()), ()
        else:  # the text of other objects depends on the conversion: %s or %r
            record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact_logs(names: Iterable[str]) -> None:
    """Redact what is logged to these loggers and Django's, whatever their handlers are."""
    for name in [*names, *DJANGO_LOGGERS]:
        logging.getLogger(name).addFilter(RedactionFilter())
