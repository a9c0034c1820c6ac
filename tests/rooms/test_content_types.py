"""Charsets of requests."""

from __future__ import annotations

import pytest

from rooms.content_types import is_allowed

REFUSED = [
    "application/json; charset=punycode",
    "application/json; charset=idna",
    "text/plain; CHARSET=Punycode",
    'multipart/form-data; charset="punycode"; boundary=x',
    "multipart/form-data; boundary=x;charset = punycode",
    "multipart/form-data; boundary=x;charset\xa0=punycode",
    "text/plain; charset=utf-8; charset=punycode",
    "text/plain; charset=utf-8,text/plain; charset=punycode",
    "text/plain; charset=utf-8punycode",
    'text/plain; charset="utf-8',
    "text/plain; charset*=utf-8''punycode",
    "text/plain; charset*0=puny; charset*1=code",
    'text/plain; "charset"=punycode',
    "text/plain; charset=pu\\nycode",
    "text/plain; charset=utf-7",
    "text/plain; charset=",
    "text/plain; charset",
    'text/plain; x="' + ";" * 1000,
]
ALLOWED = [
    "",
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    'application/json; charset="utf-8"',
    "text/plain; charset = utf-8 ; x=y",
    "application/x-www-form-urlencoded; charset=ISO-8859-15",
    "text/plain; charset=us-ascii",
    "text/plain; charset=windows-1252",
    "multipart/form-data; boundary=----WebKitFormBoundaryPunycode; charset=iso-8859-1",
]


@pytest.mark.parametrize("content_type", REFUSED)
def test_charsets_that_may_take_quadratic_time_are_refused(content_type: str) -> None:
    assert not is_allowed(content_type)


@pytest.mark.parametrize("content_type", ALLOWED)
def test_common_charsets_are_allowed(content_type: str) -> None:
    assert is_allowed(content_type)


def test_a_content_type_has_at_most_256_characters() -> None:
    assert is_allowed("x" * 256)
    assert not is_allowed("x" * 257)
