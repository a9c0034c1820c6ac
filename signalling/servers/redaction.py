"""Keeps credentials out of the servers' logs.

A URL may contain an access token (``?token=``), and ``uvicorn --log-level trace`` logs the query
and the subprotocols of each request.
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


def redact(text: str) -> str:
    """Return the text with ``[redacted]`` in place of each access token."""
    return CREDENTIALS.sub("[redacted]", text)


class RedactionFilter(logging.Filter):
    """Redacts the arguments of log records. It drops no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if arguments and all(isinstance(each, str | int | float | None) for each in arguments):
            # The arguments, and not the message: uvicorn's access log formats them itself.
            record.args = tuple(
                redact(argument) if isinstance(argument, str) else argument
                for argument in arguments
            )
        else:  # the text of other objects depends on the conversion: %s or %r
            record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact_logs(names: Iterable[str]) -> None:
    """Redact what is logged to these loggers, whatever their handlers are."""
    for name in names:
        logging.getLogger(name).addFilter(RedactionFilter())
