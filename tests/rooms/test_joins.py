"""Join rooms: seats, limits, policies and hooks."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from pytest_django import Settings

from rooms import admission, exceptions, leases, resuming, services
from rooms.models import Room
from rooms.outages import DatabaseUnavailable
from tests.conftest import Enter, statements
from tests.rooms.helpers import fill, seats

pytestmark = pytest.mark.django_db


def test_the_first_peer_takes_the_first_seat(room: Room, bob: User) -> None:
    joined = services.join(code="abc123", user=bob, peer_id="peer_b", channel_name="c!b")
    participant = joined.participant
    assert joined.room == room
    assert joined.others == []
    assert (participant.peer_id, participant.channel_name, participant.seat) == ("peer_b", "c!b", 1)
    assert (participant.role, participant.user_info) == ("member", {"username": "bob"})
    assert participant.is_live
    assert joined.resume_token is None, "the client did not ask for one"


def test_join_returns_the_others_in_the_order_of_their_seats(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    first, second = fill(room, bob, enter, 2)
    assert enter(alice).others == [first, second]


def test_join_does_not_return_peers_that_have_left(room: Room, bob: User, enter: Enter) -> None:
    services.leave(enter(bob).participant.peer_id)
    assert enter(bob).others == []


def test_the_creator_is_the_host(room: Room, alice: User, enter: Enter) -> None:
    assert enter(alice).participant.role == "host"


def test_a_room_without_a_host_has_only_members(bob: User, enter: Enter) -> None:
    services.open_room(host=None, code="NOBODY")
    assert enter(bob, "NOBODY").participant.role == "member"


def test_a_user_can_join_from_two_devices(room: Room, bob: User, enter: Enter) -> None:
    first, second = enter(bob), enter(bob)
    assert first.participant.peer_id != second.participant.peer_id
    assert seats(room) == [1, 2]


def test_the_eleventh_peer_is_rejected(room: Room, bob: User, enter: Enter) -> None:
    fill(room, bob, enter, 10)
    with pytest.raises(exceptions.RoomFull) as error:
        enter(bob)
    assert error.value.details == {"limit": 10, "mode": "p2p"}
    assert seats(room) == list(range(1, 11))


def test_join_takes_the_lowest_free_seat(room: Room, bob: User, enter: Enter) -> None:
    peers = fill(room, bob, enter, 10)
    services.leave(peers[3].peer_id)
    services.leave(peers[6].peer_id)
    assert [enter(bob).participant.seat for _ in range(2)] == [4, 7]
    with pytest.raises(exceptions.RoomFull):
        enter(bob)


def test_a_room_can_have_a_lower_limit(room: Room, bob: User, enter: Enter) -> None:
    Room.objects.update(p2p_limit=2)
    fill(room, bob, enter, 2)
    with pytest.raises(exceptions.RoomFull) as error:
        enter(bob)
    assert error.value.details == {"limit": 2, "mode": "p2p"}


@pytest.mark.parametrize("change", [{"p2p_limit": 3}, {"mode": "p2p", "p2p_limit": 2}])
def test_peers_above_a_lowered_limit_count_towards_it(
    room: Room, bob: User, enter: Enter, change: dict[str, Any]
) -> None:
    Room.objects.update(mode="sfu")
    peers = fill(room, bob, enter, 5)
    Room.objects.update(mode="p2p")
    Room.objects.update(**change)
    services.leave(peers[0].peer_id)  # seat 1 is free; four peers remain
    with pytest.raises(exceptions.RoomFull):
        enter(bob)
    for peer in peers[1:4]:
        services.leave(peer.peer_id)
    assert enter(bob).participant.seat == 1
    assert seats(room) == [1, 5]


def test_join_retries_after_a_conflict_on_a_seat(
    room: Room, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(bob)
    right, wrong = admission.free_seat, [1, 1]
    monkeypatch.setattr(
        admission, "free_seat", lambda *arguments: wrong.pop() if wrong else right(*arguments)
    )
    assert enter(bob).participant.seat == 2
    assert seats(room) == [1, 2]


def test_join_fails_after_three_conflicts(
    room: Room, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(bob)
    tries: list[int] = []

    def first_seat(*arguments: object) -> int:
        tries.append(1)
        return 1

    monkeypatch.setattr(admission, "free_seat", first_seat)
    with pytest.raises(IntegrityError):
        enter(bob)
    assert len(tries) == 3


@pytest.mark.django_db(transaction=True)  # the constraint is checked at the end of a transaction
@pytest.mark.parametrize("resumes", [False, True])
def test_a_worker_that_was_declared_dead_in_the_meantime_takes_no_seat(
    room: Room, bob: User, enter: Enter, resumes: bool
) -> None:
    token = enter(bob, resumable=True).resume_token
    place: dict[str, Any] = {"worker_id": leases.register_worker(), "channel_name": "c!2"}
    leases.retire(place["worker_id"])
    place |= {"code": room.code, "user": bob}
    take_seat: Any = resuming.resume if resumes else services.join
    with pytest.raises(DatabaseUnavailable, match="consider this worker dead"):
        take_seat(**place, **({"token": token} if resumes else {"peer_id": "peer_2"}))
    assert seats(room) == [1]


@pytest.mark.parametrize("deleted", [True, False])
def test_deactivated_and_deleted_users_cannot_join(
    room: Room, bob: User, enter: Enter, deleted: bool
) -> None:
    stale = User.objects.get(pk=bob.pk)
    if deleted:
        bob.delete()
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(exceptions.UserInactive) as error:
        enter(stale)
    assert error.value.code == "user_inactive"
    assert seats(room) == []


@pytest.mark.parametrize("code", ["ABC124", "", "no way"])
def test_joining_an_unknown_room_fails(room: Room, bob: User, code: str) -> None:
    with pytest.raises(exceptions.RoomNotFound):
        services.join(code=code, user=bob, peer_id="p", channel_name="c")


def test_a_closed_room_cannot_be_joined(room: Room, alice: User, enter: Enter) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.RoomClosed):
        enter(alice)


def test_only_the_host_can_join_a_locked_room(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    Room.objects.update(is_locked=True)
    with pytest.raises(exceptions.RoomLocked):
        enter(bob)
    assert enter(alice).participant.role == "host"


def test_a_policy_can_forbid_joining(
    room: Room, alice: User, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_bob"}
    with pytest.raises(exceptions.Forbidden):
        enter(alice)
    enter(bob)


def test_a_policy_receives_the_room(
    room: Room, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    with pytest.raises(exceptions.Forbidden):
        enter(bob)


def test_a_site_can_add_user_info(room: Room, bob: User, enter: Enter, settings: Settings) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.shout"}
    assert enter(bob).participant.user_info == {"username": "BOB", "colour": "red"}


@pytest.mark.parametrize("hook", ["CAN_JOIN", "USER_INFO"])
def test_a_join_is_rolled_back_if_a_hook_raises(
    room: Room, bob: User, enter: Enter, settings: Settings, hook: str
) -> None:
    settings.SIGNALLING = {hook: "tests.rooms.hooks.explode"}
    with pytest.raises(RuntimeError):
        enter(bob)
    assert seats(room) == []


@pytest.mark.parametrize("others", [0, 9])
def test_a_join_is_four_statements_in_rooms_of_any_size(
    room: Room, bob: User, enter: Enter, others: int
) -> None:
    fill(room, bob, enter, others)
    with statements() as queries:
        services.join(code="ABC123", user=bob, peer_id="peer_x", channel_name="c!x")
    assert [sql.split()[0] for sql in queries] == ["SELECT", "SELECT", "INSERT", "UPDATE"], queries
