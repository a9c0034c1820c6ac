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
        # The arguments, and not the message: uvicorn's access log formats them itself.
        if record.args and isinstance(record.args, tuple):
            record.args = tuple(
                argument
                if argument is None or isinstance(argument, int | float)
                else redact(str(argument))
                for argument in record.args
            )
        else:
            record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact_logs(names: Iterable[str]) -> None:
    """Redact what is logged to these loggers, whatever their handlers are."""
    for name in names:
        logging.getLogger(name).addFilter(RedactionFilter())
