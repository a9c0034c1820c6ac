"""Headers of a handshake, in whatever number of lines they arrive.

A header that is a list may be sent in several lines (RFC 9110, section 5.3; RFC 6455, section
11.3.4). Some servers combine them, others pass each one on, so ``dict(scope["headers"])`` would lose
all lines but the last.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]
"""``scope["headers"]``: the names are in lower case (ASGI specification)."""


def header_lines(headers: Headers, name: bytes) -> list[str]:
    """Return the values of all lines of a header."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def header_value(headers: Headers, name: bytes) -> str:
    """Return the value of a header, with its lines combined; empty if there is none."""
    return ", ".join(header_lines(headers, name))
