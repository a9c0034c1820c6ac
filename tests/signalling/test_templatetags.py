"""A call as a part of a page of the site."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template import engines
from django.test import RequestFactory
from pytest_django import Settings

from rooms.models import Room

pytestmark = pytest.mark.django_db


def rendered(template: str, user: User | AnonymousUser, room: Room, **attributes: str) -> str:
    request = RequestFactory().get("/appointments/7/")
    request.user = user
    for name, value in attributes.items():
        setattr(request, name, value)
    source = "{% load signalling %}" + template
    return str(engines["django"].from_string(source).render({"room": room}, request))


def test_a_call_in_a_page_of_the_site(room: Room, bob: User) -> None:
    html = rendered("{% signalling_call room %}", bob, room)
    for part in (
        'data-room-code="ABC123"',
        '<h1 id="call-title" tabindex="-1" data-part="call-title">Tea</h1>',
        'href="/appointments/7/"',
        "/static/signalling/page/call.css",
        '<script type="module" src="/static/signalling/page/call.js"></script>',
        "next=/appointments/7/",
    ):
        assert part in html
    assert "<html" not in html


def test_the_button_leads_to_this_site_whatever_the_path(room: Room, bob: User) -> None:
    """A browser takes ``//host/`` for the address of another site."""
    path = "//evil.example/call/"  # a page of a pattern such as <path:page>
    html = rendered("{% signalling_call room %}", bob, room, path=path)
    assert 'data-return-url="/%2Fevil.example/call/"' in html
    assert 'href="//' not in html


def test_a_visitor_who_has_not_signed_in_has_no_name(room: Room, settings: Settings) -> None:
    """``USER_INFO`` is for users: this one reads a field that ``AnonymousUser`` does not have."""
    settings.SIGNALLING = {"USER_INFO": "tests.signalling.test_templatetags.email_domain"}
    assert 'data-user-name=""' in rendered("{% signalling_call room %}", AnonymousUser(), room)


def email_domain(user: User) -> dict[str, str]:
    return {"username": user.email.partition("@")[2]}


def test_its_script_has_the_nonce_of_the_site(room: Room, bob: User) -> None:
    html = rendered("{% signalling_call room %}", bob, room, csp_nonce="abc")
    assert '/call.js" nonce="abc"></script>' in html


def test_the_button_after_the_call_leads_to_the_given_page(room: Room, bob: User) -> None:
    html = rendered("{% signalling_call room return_url='/diary/' %}", bob, room)
    assert 'data-action="home" href="/diary/"' in html
