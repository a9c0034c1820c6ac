"""Headers that take quadratic time to parse or to apply, before the client is identified."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from rooms.content_types import is_allowed

MOST_ESCAPES = 256
"""Backslashes in the cookies of a request.

Before 3.12.6 and 3.11.10, Python's parser of cookies takes time in proportion to their number times
the length (CVE-2024-7592): half a second for 16 KB. Browsers do not escape cookies.
"""


def refused_status(content_types: Iterable[bytes], cookies: Iterable[bytes]) -> HTTPStatus | None:
    """Return the status with which these headers are refused, ``None`` if they are not.

    The arguments are all headers ``Content-Type`` and ``Cookie`` of a request.
    """
    if not is_allowed(b",".join(content_types).decode("latin-1")):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if sum(cookie.count(b"\\") for cookie in cookies) > MOST_ESCAPES:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return None
