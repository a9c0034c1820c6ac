"""Charsets of requests in Django, with any server."""

from __future__ import annotations

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from signalling.middleware import CharsetMiddleware
from signalling_project.settings import MIDDLEWARE


def post(content_type: str) -> HttpRequest:
    return RequestFactory().post("/", b"{}", content_type=content_type)


REQUESTS = [
    ("application/json", 200),
    ('application/json; charset="UTF-8"', 200),
    ("application/json; charset=punycode", 415),
    ("multipart/form-data; boundary=x; charset=punycode", 415),
]


@pytest.mark.parametrize(("content_type", "status"), REQUESTS)
def test_unusual_charsets_are_refused(content_type: str, status: int) -> None:
    middleware = CharsetMiddleware(lambda request: HttpResponse())
    assert middleware(post(content_type)).status_code == status


@pytest.mark.parametrize(("content_type", "status"), REQUESTS)
async def test_unusual_charsets_are_refused_by_async_sites(content_type: str, status: int) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    middleware = CharsetMiddleware(view)
    assert iscoroutinefunction(middleware)
    assert (await middleware(post(content_type))).status_code == status


def test_it_comes_first_in_the_example_site() -> None:
    assert MIDDLEWARE[0] == "signalling.middleware.CharsetMiddleware"
