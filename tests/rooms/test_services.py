"""Open, find, close and lock rooms; leave rooms; update participants."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from pytest_django import Settings

from rooms import exceptions, services
from rooms.models import Participant, Room
from tests.conftest import Enter, statements
from tests.rooms.helpers import Received, seats

pytestmark = pytest.mark.django_db


# --- open_room --------------------------------------------------------------------------------


def test_open_room_generates_a_code(alice: User) -> None:
    room = services.open_room(host=alice, name="Tea")
    assert (room.host, room.name, room.is_active) == (alice, "Tea", True)
    assert Room.objects.get(code=room.code) == room


def test_open_room_accepts_a_chosen_code_in_any_case(alice: User) -> None:
    assert services.open_room(host=alice, code="tea-time").code == "TEA-TIME"


def test_a_room_can_have_no_host() -> None:
    assert services.open_room(host=None).host is None


@pytest.mark.parametrize("code", ["ABC123", "abc123", " Abc123 "])
def test_a_taken_code_is_rejected_in_any_case(room: Room, bob: User, code: str) -> None:
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=bob, code=code)
    assert Room.objects.count() == 1


def test_the_code_of_a_closed_room_stays_taken(room: Room, bob: User) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=bob, code="ABC123")


def test_a_malformed_code_is_rejected(alice: User) -> None:
    with pytest.raises(exceptions.CodeInvalid):
        services.open_room(host=alice, code="no way")


def test_a_policy_can_forbid_users_to_open_rooms_and_not_trusted_code(
    alice: User, settings: Settings
) -> None:
    assert services.may_create(alice)
    services.check_may_create(alice)
    settings.SIGNALLING = {"CAN_CREATE": "tests.rooms.hooks.deny"}
    assert not services.may_create(alice)
    with pytest.raises(exceptions.Forbidden):
        services.check_may_create(alice)
    assert services.open_room(host=alice).host == alice


@pytest.mark.parametrize("code", [None, "TEA", "FIRST"])
def test_a_host_has_a_limited_number_of_open_rooms(
    alice: User, bob: User, settings: Settings, code: str | None
) -> None:
    settings.SIGNALLING = {"OPEN_ROOMS": 2}
    first = services.open_room(host=alice, code="FIRST")
    services.open_room(host=alice)
    with pytest.raises(exceptions.TooManyRooms) as refused:
        services.open_room(host=alice, code=code)
    assert refused.value.details == {"limit": 2}
    services.open_room(host=bob)
    services.open_room(host=alice, unlimited=True)
    assert Room.objects.hosted_by(alice).count() == 3
    for room in (first, Room.objects.hosted_by(alice)[0]):
        services.close_room(room)
    services.open_room(host=alice)


def test_rooms_without_a_host_are_not_limited(settings: Settings) -> None:
    settings.SIGNALLING = {"OPEN_ROOMS": 1}
    for _ in range(2):
        services.open_room(host=None)


def test_a_site_can_generate_its_own_codes(alice: User, settings: Settings) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.tea"}
    assert services.open_room(host=alice).code == "TEA"
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=alice)


def test_open_room_retries_if_a_generated_code_is_taken(
    room: Room, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(["ABC123", "ABC123", "FRESH"])
    monkeypatch.setattr("rooms.codes.generate", lambda: next(made))
    assert services.open_room(host=alice).code == "FRESH"


def test_open_room_generates_at_most_three_codes(
    room: Room, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def generate() -> str:
        made.append("ABC123")
        return made[-1]

    monkeypatch.setattr("rooms.codes.generate", generate)
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=alice)
    assert len(made) == 3


def test_other_integrity_errors_are_not_reported_as_a_taken_code(
    alice: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 5, "TOTAL_LIMIT": 4}
    with pytest.raises(IntegrityError):
        services.open_room(host=alice, code="TEA")


def test_opening_a_room_is_three_statements(alice: User) -> None:
    with statements() as queries:
        services.open_room(host=alice)
    assert len(queries) == 3, queries  # lock the host, count its rooms, insert the room


# --- find_room --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ABC123", "abc123", " aBc123 "])
def test_find_room_returns_the_live_count(room: Room, bob: User, enter: Enter, code: str) -> None:
    enter(bob)
    found: Any = services.find_room(code)
    assert found == room
    assert found.live_count == 1


@pytest.mark.parametrize("code", ["ABC124", "", "no way", "ü" * 5])
def test_an_unknown_room_is_not_found(room: Room, code: str) -> None:
    with pytest.raises(exceptions.RoomNotFound):
        services.find_room(code)


def test_a_closed_room_is_reported_as_closed(room: Room) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.RoomClosed):
        services.find_room("ABC123")


# --- close_room -------------------------------------------------------------------------------


def test_closing_a_room_ends_its_memberships(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    enter(alice)
    gone = enter(bob).participant
    services.leave(gone.peer_id)
    services.close_room(room)
    assert not room.is_active
    assert not Room.objects.get().is_active
    assert seats(room) == []
    reasons = room.participants.order_by("pk").values_list("reason", flat=True)
    assert list(reasons) == ["room_closed", "left"]


def test_closing_a_closed_room_has_no_effect(room: Room, received: Received, bob: User) -> None:
    services.close_room(room)
    with statements() as queries:
        services.close_room(Room.objects.get())
    assert len(queries) == 2, queries  # the query above, and an update of no row


def test_closing_a_room_does_not_affect_other_rooms(room: Room, bob: User, enter: Enter) -> None:
    other = services.open_room(host=bob, code="OTHER")
    enter(bob, other)
    services.close_room(room)
    assert seats(other) == [1]


# --- set_locked -------------------------------------------------------------------------------


def test_set_locked_returns_whether_the_room_changed(room: Room) -> None:
    for locked in (True, False):
        assert services.set_locked(room, locked)
        assert not services.set_locked(room, locked)
        assert room.is_locked == locked
        assert Room.objects.get().is_locked == locked


# --- leave ------------------------------------------------------------------------------------


def test_leave_frees_the_seat_and_stores_the_reason(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    assert services.leave(peer.peer_id, reason=Participant.Reason.DISCONNECTED)
    peer.refresh_from_db()
    assert (peer.seat, peer.reason, peer.is_live) == (None, "disconnected", False)


def test_leave_returns_a_version_once(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    assert [services.leave(peer.peer_id) for _ in range(3)] == [2, 0, 0]


def test_a_second_leave_does_not_change_the_reason(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.leave(peer.peer_id, reason="left")
    left_at = Participant.objects.get().left_at
    services.leave(peer.peer_id, reason="disconnected")
    peer.refresh_from_db()
    assert (peer.reason, peer.left_at) == ("left", left_at)


def test_leave_returns_0_for_an_unknown_peer() -> None:
    assert services.leave("unknown_peer") == 0


def test_leave_is_three_statements(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    with statements() as queries:
        services.leave(peer.peer_id)
    assert [sql.split()[0] for sql in queries] == ["SELECT", "UPDATE", "UPDATE"], queries


# --- update_participant -----------------------------------------------------------------------


def test_update_participant_keeps_absent_values(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, media={"audio": True, "video": True})
    services.update_participant(peer.peer_id, media={"video": False}, display_name="Bobby")
    services.update_participant(peer.peer_id)
    peer.refresh_from_db()
    assert peer.media == {"audio": True, "video": False}
    assert peer.user_info == {"username": "bob", "displayName": "Bobby"}


def test_a_display_name_can_be_cleared(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, display_name="Bobby")
    services.update_participant(peer.peer_id, display_name="")
    peer.refresh_from_db()
    assert peer.user_info["displayName"] == ""


def test_join_returns_the_media_and_names_of_the_others(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, media={"audio": False}, display_name="Bobby")
    (other,) = enter(alice).others
    assert other.media == {"audio": False}
    assert other.user_info["displayName"] == "Bobby"


def test_update_participant_rejects_peers_that_are_not_in_a_room(
    room: Room, bob: User, enter: Enter
) -> None:
    peer = enter(bob).participant
    services.leave(peer.peer_id)
    for peer_id in (peer.peer_id, "unknown_peer"):
        with pytest.raises(exceptions.NotInRoom):
            services.update_participant(peer_id, media={"audio": True})


def test_update_participant_is_two_statements(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    with statements() as queries:
        services.update_participant(peer.peer_id, media={"audio": True})
    assert [sql.split()[0] for sql in queries] == ["SELECT", "UPDATE"], queries
