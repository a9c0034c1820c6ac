"""The substitute for the default cache."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from pytest_django import Settings

from rooms import failures
from rooms.failures import Throttle


@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "dummy.DummyCache"])
def test_a_cache_of_one_process_is_left_alone(settings: Settings, backend: str) -> None:
    """LocMemCache has 300 entries by default: failures would displace those of the site."""
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    caches["default"].set("site", 1)
    for number in range(600):
        Throttle("t").failed(f"guesser {number}")
    assert Throttle("t").wait("guesser 599")
    assert caches["default"].get("site") == (1 if "locmem" in backend else None)


def test_the_counter_of_one_process_is_bounded() -> None:
    for number in range(11_000):
        failures.store.local.set(str(number), 1)
    store: Any = failures.store.local
    assert len(store._cache) <= 10_000
