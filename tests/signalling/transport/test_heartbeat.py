"""``Heartbeat.proven_at``: when a client was certainly there."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from signalling.transport import heartbeat
from signalling.transport.heartbeat import IDLE_SECONDS, Heartbeat

NEVER = float("inf")


class Socket:
    """A heartbeat with a clock. Its process was not suspended, unless a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(heartbeat, "monotonic", lambda: self.now)
        self.heartbeat = Heartbeat(Mock(), 45, Mock())

    def frame(self, after: float, *, takes: float = 0.0, alive_until: float = NEVER) -> float:
        """Handle a frame; return ``proven_at``."""
        self.now += after
        if self.now > alive_until or self.heartbeat.may_have_waited:
            self.heartbeat.begin(self.now, alive_until)
        self.heartbeat.last_frame_at = self.now
        self.now += takes
        self.heartbeat.end()
        return round(self.heartbeat.proven_at, 6)


@pytest.fixture
def socket(monkeypatch: pytest.MonkeyPatch) -> Socket:
    return Socket(monkeypatch)


def test_a_frame_that_is_read_at_once_has_just_arrived(socket: Socket) -> None:
    assert [socket.frame(0.05) for _ in range(3)] == [100.05, 100.1, 100.15]


def test_frames_may_have_waited_for_an_earlier_one(socket: Socket) -> None:
    assert socket.frame(1, takes=2) == 101
    assert socket.frame(0) == 101
    assert socket.frame(0.01, takes=0.5) == 101.02
    assert socket.frame(0.1) == 101.22


def test_a_frame_after_a_pause_has_not_waited(socket: Socket) -> None:
    socket.frame(1, takes=20)
    assert socket.frame(IDLE_SECONDS + 0.01) == round(socket.now, 6)


def test_frames_may_have_waited_while_the_process_was_suspended(socket: Socket) -> None:
    socket.frame(1)
    assert socket.frame(9, takes=0.2, alive_until=103) == 101
    assert socket.frame(0.1) == 101.2  # its check took 0.2 s, and it came 0.1 s later
    assert socket.frame(IDLE_SECONDS + 0.01) == round(socket.now, 6)


def test_a_busy_client_is_proven_again_and_again(socket: Socket) -> None:
    for _ in range(100):
        socket.frame(0.05, takes=0.02)
    assert socket.now - socket.heartbeat.proven_at < 0.05
