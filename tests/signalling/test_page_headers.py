"""The security headers of the pages, alone and in a site that sends its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import django
import pytest
from csp.constants import NONCE
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from signalling.page_headers import DefaultHeaders, secured

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
HOST_TEMPLATES = Path(__file__).parent / "host_templates"
CSP = "Content-Security-Policy"
THEIRS = "default-src 'self' https://cdn.example.org"
GetResponse = Callable[[HttpRequest], HttpResponse]


def with_base_template(settings: Settings) -> None:
    """Give the site its own base template."""
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [HOST_TEMPLATES]}]


def test_the_base_template_of_the_site_is_the_documented_one() -> None:
    (documented,) = re.findall(
        r"```html\n({# templates/signalling/base.html.*?)```",
        (ROOT / "docs/embedding.md").read_text(),
        re.DOTALL,
    )
    assert (HOST_TEMPLATES / "signalling/base.html").read_text() == documented


def sent(path: str = "/login/") -> dict[str, str]:
    """Return the headers that the server sends for a page."""
    headers: dict[str, str] = {}

    def start_response(status: str, lines: list[tuple[str, str]], *rest: Any) -> None:
        assert status == "200 OK"
        names = [name.lower() for name, _ in lines]
        assert len(names) == len(set(names))
        headers.update(lines)

    environment: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "testserver"}
    setup_testing_defaults(environment)
    handler: Any = WSGIHandler()
    handler(environment, start_response)
    return headers


# --- Standalone pages ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/r/ABC123/", "/login/"])
def test_a_page_may_load_own_files_and_use_the_devices(
    client: Client, bob: User, path: str
) -> None:
    if path != "/login/":
        client.force_login(bob)
    response = client.get(path)
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response[CSP].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert response["Permissions-Policy"] == (
        "camera=(self), microphone=(self), display-capture=(self)"
    )


def test_the_headers_are_sent(settings: Settings) -> None:
    headers = sent()
    assert headers[CSP].startswith("default-src 'none'; ")
    assert headers["Permissions-Policy"].startswith("camera=(self), ")
    assert headers["X-Frame-Options"] == "DENY"


def test_a_page_may_load_static_files_from_their_host(settings: Settings) -> None:
    settings.STATIC_URL = "https://static.example.org/s/"
    assert "script-src 'self' https://static.example.org;" in sent()[CSP]


def test_a_site_can_name_the_pages_that_may_frame_a_call(settings: Settings) -> None:
    settings.SIGNALLING = {"FRAME_ANCESTORS": ["'self'", "https://portal.example.org"]}
    headers = sent()
    assert headers[CSP].endswith(
        "; frame-ancestors 'self' https://portal.example.org; base-uri 'none'"
    )
    # Browsers ignore it next to frame-ancestors. Without ours, the site is as safe as before.
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("policy", "standalone", "in_the_base_template_of_the_site"),
    [("standalone", True, False), ("always", True, True), ("never", False, False)],
)
def test_a_setting_chooses_the_pages_that_have_our_policy(
    settings: Settings, policy: str, standalone: bool, in_the_base_template_of_the_site: bool
) -> None:
    settings.SIGNALLING = {"CONTENT_SECURITY_POLICY": policy}
    assert (CSP in sent()) == standalone
    with_base_template(settings)
    assert (CSP in sent()) == in_the_base_template_of_the_site


def test_by_default_pages_in_the_base_template_of_the_site_have_no_policy_of_ours(
    client: Client, alice: User, settings: Settings
) -> None:
    with_base_template(settings)
    client.force_login(alice)
    for path in ("/", "/r/ABC123/", "/login/?next=x"):
        response = Client().get(path) if "login" in path else client.get(path)
        assert " | Praxis</title>" in response.text
        assert 'href="/static/signalling/page/call.css"' in response.text
        assert "<body><main>" in response.text
        assert '<div class="signalling">' in response.text
        assert dict(response.items()).get(CSP) is None
        assert response["Permissions-Policy"].startswith("camera=(self), ")


# --- Sites with a policy of their own -----------------------------------------------------------


def assigning(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response[CSP] = THEIRS
        return response

    return middleware


def careful(get_response: GetResponse) -> GetResponse:
    """A middleware that leaves policies of views alone."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        assert response.headers.get(CSP) is None
        if not response.has_header(CSP):
            response.headers.setdefault(CSP, THEIRS)
        return response

    return middleware


def removing(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        del response[CSP]
        return response

    return middleware


@pytest.mark.parametrize(
    ("middleware", "policy"), [("assigning", THEIRS), ("careful", THEIRS), ("removing", None)]
)
def test_a_middleware_of_the_site_decides(
    settings: Settings, middleware: str, policy: str | None
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.{middleware}", *settings.MIDDLEWARE]
    assert sent().get(CSP) == policy


def test_a_view_of_the_site_decides() -> None:
    @secured
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={CSP: THEIRS, "Permissions-Policy": "camera=*"})

    response = view(RequestFactory().get("/"))
    assert dict(response.items()) == {
        "Content-Type": "text/html; charset=utf-8",
        CSP: THEIRS,
        "Permissions-Policy": "camera=*",
    }


def test_default_headers_are_a_mapping() -> None:
    response = HttpResponse(content_type="text/plain")
    headers = DefaultHeaders(response.headers, {"A": "1", "B": "2"})
    assert len(headers) == 3
    headers["b"] = "3"
    assert list(headers.items()) == [("A", "1"), ("b", "3"), ("Content-Type", "text/plain")]
    assert "A" not in headers
    assert "B" in headers
    assert headers["a"] == "1"
    with pytest.raises(KeyError):
        headers["C"]


def nonces(client: Client, user: User) -> tuple[set[str], str]:
    """Return the nonces of scripts and style sheets of the call page, and its policy."""
    client.force_login(user)
    page = client.get("/r/ABC123/")
    tags = re.findall(r"<script[^>]*src=[^>]*>|<link rel=\"stylesheet\"[^>]*>", page.text)
    assert len(tags) == 2
    return {nonce for tag in tags for nonce in re.findall('nonce="(.+?)"', tag)}, page[CSP]


def test_without_a_nonce_of_the_site_the_page_has_none(client: Client, alice: User) -> None:
    assert nonces(client, alice)[0] == set()
    assert "nonce=" not in client.get("/r/ABC123/").text


def test_django_csp_decides_and_its_nonce_is_passed_on(
    client: Client, alice: User, settings: Settings
) -> None:
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {"script-src": [NONCE]}}
    settings.MIDDLEWARE = ["csp.middleware.CSPMiddleware", *settings.MIDDLEWARE]
    (nonce,), policy = nonces(client, alice)
    assert set(policy.split("; ")) == {"default-src 'self'", f"script-src 'nonce-{nonce}'"}


if django.VERSION >= (6, 0):  # it has this middleware

    def test_the_middleware_of_django_decides_and_its_nonce_is_passed_on(
        client: Client, alice: User, settings: Settings
    ) -> None:
        settings.SECURE_CSP = {"script-src": ["<CSP_NONCE_SENTINEL>"]}
        middleware = "django.middleware.csp.ContentSecurityPolicyMiddleware"
        settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE]
        (nonce,), policy = nonces(client, alice)
        assert policy == f"script-src 'nonce-{nonce}'"
