"""The throttles of the REST API do without their cache while it is unavailable."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from pytest_django import Settings
from rest_framework.test import APIClient

from rooms import shared_cache
from rooms.api.throttling import TokenRateThrottle, UserRateThrottle, requests
from tests.conftest import PASSWORD, access_token

pytestmark = pytest.mark.django_db

REDIS = "django.core.cache.backends.redis.RedisCache"


@pytest.fixture
def no_redis(settings: Settings) -> None:
    """A Redis that refuses connections."""
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "unix:///nonexistent/redis"}}


def sign_in() -> int:
    body = {"username": "bob", "password": PASSWORD}
    return APIClient().post("/api/token/", body).status_code


def test_an_outage_of_the_cache_fails_no_request_and_lifts_no_limit(
    no_redis: None, bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rates = {"token": "3/min", "user": "2/min", "anon": "30/min"}
    for throttle in (TokenRateThrottle, UserRateThrottle):
        monkeypatch.setattr(throttle, "THROTTLE_RATES", rates)
    with pytest.raises(Exception, match="nonexistent"):
        caches["default"].get("key")
    assert [sign_in() for _ in range(4)] == [200, 200, 200, 429]
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(bob)}")
    assert [api.get("/api/rooms/").status_code for _ in range(3)] == [200, 200, 429]
    logged = [record.getMessage() for record in caplog.records if "Cache" in record.getMessage()]
    assert sorted(line.partition(":")[0] for line in logged) == [
        "Cache unavailable, each process counts REST requests alone",
        "Cache unavailable, each process counts failures alone",
    ]


def test_processes_count_requests_together_in_their_cache(
    settings: Settings, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "DEADLINE", 30)  # a busy machine is no outage
    settings.CACHES = {"default": {"BACKEND": "tests.rooms.test_failures.SharedCache"}}
    monkeypatch.setattr(TokenRateThrottle, "THROTTLE_RATES", {"token": "1/min"})
    caches["default"].clear()
    assert sign_in() == 200
    requests.clear()  # another process
    assert sign_in() == 429


def test_a_cache_that_was_unavailable_is_tried_again(
    no_redis: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.set("key", "in this process")
    settings.CACHES = {"default": {"BACKEND": "tests.rooms.test_failures.SharedCache"}}
    assert requests.get("key") == "in this process"
    monkeypatch.setattr(shared_cache, "DEADLINE", 30)  # a busy machine is no outage
    now = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert requests.get("key", "default") == "default"


def test_a_site_without_rates_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"anon": None, "user": None})
    monkeypatch.setattr(TokenRateThrottle, "THROTTLE_RATES", {})
    assert UserRateThrottle().rate == "120/min"
    assert TokenRateThrottle().rate == "300/min"
