"""Headers that take quadratic time."""

from __future__ import annotations

import pytest

from signalling.servers.heads import refused_status


@pytest.mark.parametrize(
    ("content_types", "cookies", "status"),
    [
        ([], [], None),
        ([b"text/plain; charset=utf-8"], [b'a="' + b"\\" * 256 + b'"'], None),
        ([b"text/plain; charset=punycode"], [], 415),
        ([b"text/plain; charset=utf-8", b"text/plain; charset=punycode"], [], 415),
        ([b"text/plain; charset=\xff"], [], 415),
        ([], [b'a="' + b"\\" * 257 + b'"'], 431),
        ([], [b'a="' + b"\\" * 200 + b'"', b'b="' + b"\\" * 200 + b'"'], 431),
    ],
)
def test_they_are_refused(
    content_types: list[bytes], cookies: list[bytes], status: int | None
) -> None:
    assert refused_status(content_types, cookies) == status
