"""Probes of orchestrators: any host, plain HTTP, no login, no transaction; ``live`` without database."""

from __future__ import annotations

import pytest
from django.core import checks
from django.db import connections
from django.test import AsyncClient, Client
from pytest_django import Settings

LIVE, READY = "/health/live/", "/health/ready/"
PROBES = "signalling.middleware.ProbeMiddleware"
STRICT = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
]
POD = "10.1.2.3:8000"


@pytest.fixture
def strict(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A site that redirects to its own host and to HTTPS, requires logins and uses transactions."""
    settings.MIDDLEWARE = [PROBES, *STRICT]
    settings.ALLOWED_HOSTS = ["example.org", "www.example.org"]
    settings.SECURE_SSL_REDIRECT = settings.PREPEND_WWW = True
    for database in connections.settings.values():
        monkeypatch.setitem(database, "ATOMIC_REQUESTS", True)
    return settings


@pytest.mark.parametrize("method", ["get", "head"])
async def test_live_answers_any_host_without_a_database(strict: Settings, method: str) -> None:
    response = await getattr(AsyncClient(), method)(LIVE, headers={"host": POD})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]


def test_live_is_answered_under_wsgi(strict: Settings) -> None:
    assert Client().get(LIVE, headers={"host": POD}).json() == {"live": True}


@pytest.mark.django_db(transaction=True)
async def test_ready_answers_any_host(strict: Settings) -> None:
    response = await AsyncClient().get(READY, headers={"host": POD})
    assert (response.status_code, response.json()["ready"]) == (200, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [LIVE, READY])
def test_without_the_middleware_probes_need_no_login_and_no_transaction(
    strict: Settings, path: str
) -> None:
    strict.MIDDLEWARE = STRICT
    response = Client().get(path, headers={"host": "www.example.org"}, secure=True)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/calls/health/live/", "/calls/health/ready/"])
@pytest.mark.django_db(transaction=True)
async def test_probes_are_found_wherever_the_site_mounts_them(strict: Settings, path: str) -> None:
    strict.ROOT_URLCONF = "tests.signalling.site_urls"
    assert (await AsyncClient().get(path, headers={"host": POD})).status_code == 200
    assert (await AsyncClient().get(path[6:], headers={"host": POD})).status_code == 400


async def test_a_probe_is_only_read(strict: Settings) -> None:
    assert (await AsyncClient().post(LIVE, headers={"host": POD})).status_code == 405


@pytest.mark.parametrize("path", ["/", "/r/health/live/", "/nowhere/health/live/", "/health/live"])
def test_other_paths_are_redirected_as_before(strict: Settings, path: str) -> None:
    response = Client().get(path, headers={"host": "www.example.org"})
    assert (response.status_code, response["Location"]) == (301, f"https://www.example.org{path}")
    assert Client().get(path, headers={"host": POD}, secure=True).status_code == 400


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({}, False),
        ({"MIDDLEWARE": STRICT}, True),
        ({"MIDDLEWARE": [*STRICT, PROBES]}, True),
        ({"MIDDLEWARE": STRICT, "ALLOWED_HOSTS": ["*"]}, True),
        ({"MIDDLEWARE": STRICT, "SECURE_SSL_REDIRECT": False}, True),
        ({"MIDDLEWARE": STRICT, "ALLOWED_HOSTS": ["*"], "SECURE_SSL_REDIRECT": False}, False),
        ({"MIDDLEWARE": STRICT, "ROOT_URLCONF": "signalling.login_urls"}, False),
    ],
)
@pytest.mark.django_db
def test_refused_probes_are_a_warning_in_production(
    strict: Settings, changes: dict[str, object], is_found: bool
) -> None:
    for name, value in changes.items():
        setattr(strict, name, value)
    messages = checks.run_checks(tags=["urls"], include_deployment_checks=True)
    assert ("signalling.W017" in {message.id for message in messages}) is is_found
    assert "signalling.W017" not in {message.id for message in checks.run_checks(tags=["urls"])}
