from __future__ import annotations

import atexit
import gc

import pytest

from signalling.worker.gc import CLOSED_SOCKETS, Cycles


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda: calls.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: calls.append("rarely"))
    monkeypatch.setattr(atexit, "register", calls.append)
    return calls


def test_other_processes_keep_their_settings(collections: list[object]) -> None:
    cycles = Cycles()
    cycles.socket_opened()
    for _ in range(CLOSED_SOCKETS):
        cycles.socket_closed(0)
    assert collections == []


def test_a_collection_follows_as_many_closed_sockets_as_are_open(collections: list[object]) -> None:
    cycles = Cycles()
    cycles.collect_rarely()
    for _ in range(2):
        cycles.socket_opened()
    assert collections == ["rarely", gc.freeze, "collect", "freeze"]
    for _ in range(2 * CLOSED_SOCKETS - 1):
        cycles.socket_closed(2 * CLOSED_SOCKETS)
    assert collections[4:] == []
    cycles.socket_closed(2 * CLOSED_SOCKETS)
    assert collections[4:] == ["collect"]
