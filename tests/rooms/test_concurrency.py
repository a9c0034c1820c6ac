"""Concurrent joins and leaves in several threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread
from typing import TypeVar

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from rooms import services
from rooms.exceptions import RoomError, TooManyRooms
from rooms.models import Participant, Room
from tests.conftest import Enter
from tests.patience import PATIENCE
from tests.rooms.helpers import fill, seats

pytestmark = pytest.mark.django_db

T = TypeVar("T")


def at_once(*joins: tuple[User, str]) -> list[Participant | RoomError]:
    """Run the joins at the same moment, each in its own thread. Return their outcomes."""

    def join(user: User, peer_id: str) -> Participant:
        joined = services.join(code="ABC123", user=user, peer_id=peer_id, channel_name="c")
        return joined.participant

    return run_at_once(*(partial(join, user, peer_id) for user, peer_id in joins))


def run_at_once(*calls: Callable[[], T]) -> list[T | RoomError]:
    """Run functions at the same moment, each in its own thread. Return their outcomes."""
    barrier = Barrier(len(calls))
    outcomes: list[T | RoomError] = []

    def run(call: Callable[[], T]) -> None:
        connection.ensure_connection()
        barrier.wait(PATIENCE)
        try:
            outcomes.append(call())
        except RoomError as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return outcomes


@pytest.mark.django_db(transaction=True)
def test_two_concurrent_joins_take_two_seats(room: Room, alice: User, bob: User) -> None:
    for attempt in range(5):
        outcomes = at_once((alice, f"peer_a{attempt}"), (bob, f"peer_b{attempt}"))
        taken = sorted(getattr(outcome, "seat", 0) for outcome in outcomes)
        assert taken == [1, 2], outcomes
        for outcome in outcomes:
            assert isinstance(outcome, Participant)
            services.leave(outcome.peer_id)


@pytest.mark.django_db(transaction=True)
def test_concurrent_joins_do_not_exceed_the_limit(room: Room, bob: User, enter: Enter) -> None:
    fill(room, bob, enter, 9)
    carol = User.objects.create(username="carol")
    outcomes = at_once(*((user, f"peer_of_{user.username}") for user in (carol, bob)))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Participant", "RoomFull"]
    assert seats(room) == list(range(1, 11))


@pytest.mark.django_db(transaction=True)
def test_concurrent_joins_of_one_user_do_not_exceed_its_seats(
    room: Room, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"SEATS_PER_USER": 3}
    fill(room, bob, enter, 1)
    outcomes = at_once(*((bob, f"peer_{number}_of_bob") for number in range(4)))
    names = sorted(type(outcome).__name__ for outcome in outcomes)
    assert names == ["Participant", "Participant", "TooManyDevices", "TooManyDevices"]
    assert seats(room) == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_one_of_two_concurrent_leaves_returns_a_version(
    room: Room, bob: User, enter: Enter
) -> None:
    peer_id = enter(bob).participant.peer_id
    barrier = Barrier(2)
    outcomes: list[int] = []

    def run() -> None:
        connection.ensure_connection()
        barrier.wait(PATIENCE)
        outcomes.append(services.leave(peer_id))
        connection.close()

    threads = [Thread(target=run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(outcomes) == [0, 2]


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_do_not_exceed_the_limit_of_open_rooms(
    alice: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"OPEN_ROOMS": 2}
    outcomes = run_at_once(*[partial(services.open_room, host=alice)] * 4)
    assert sum(isinstance(outcome, TooManyRooms) for outcome in outcomes) == 2, outcomes
    assert Room.objects.count() == 2
