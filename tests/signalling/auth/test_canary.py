"""``Canary`` with a cache that forgets and fails."""

from __future__ import annotations

from typing import Any

import pytest

from signalling.auth import canary as module
from signalling.auth.canary import Canary


class FakeCache:
    """Counts the writes. ``is_down``: raises at each call."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.writes = 0
        self.is_down = False

    def set_many(self, entries: dict[str, Any], timeout: float | None) -> None:
        self._check()
        assert timeout is None  # the default of a cache would end the keys before the sessions
        self.entries.update(entries)
        self.writes += 1

    def get_many(self, keys: list[str]) -> dict[str, Any]:
        self._check()
        return {key: self.entries[key] for key in keys if key in self.entries}

    def _check(self) -> None:
        if self.is_down:
            raise ConnectionError("the cache is unavailable")


@pytest.fixture
def cache() -> Any:
    return FakeCache()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(module, "monotonic", lambda: 1000.0)
    return 1000.0


def test_the_keys_are_stored_once_and_found(cache: Any) -> None:
    canary = Canary()
    for _ in range(2):
        canary.store(cache)
        canary.look(cache)
    assert (set(cache.entries), cache.writes) == (set(canary.keys), 1)
    assert canary.lost_at < 1000


def test_each_process_has_keys_of_its_own() -> None:
    first, second = Canary(), Canary()
    assert not set(first.keys) & set(second.keys)


@pytest.mark.parametrize("lost", [1, 16])
def test_a_lost_key_is_noticed_once_and_stored_again(cache: Any, lost: int, now: float) -> None:
    canary = Canary()
    canary.store(cache)
    for key in canary.keys[:lost]:
        del cache.entries[key]
    canary.look(cache)
    assert canary.lost_at == now
    assert set(cache.entries) == set(canary.keys)
    canary.lost_at = 0.0
    canary.look(cache)
    assert canary.lost_at == 0.0


def test_an_outage_is_noticed_and_the_keys_are_stored_after_it(cache: Any, now: float) -> None:
    canary = Canary()
    cache.is_down = True
    canary.store(cache)
    canary.look(cache)
    assert canary.lost_at == now
    cache.is_down = False
    canary.store(cache)
    assert set(cache.entries) == set(canary.keys)
