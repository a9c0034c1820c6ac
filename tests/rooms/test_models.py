from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from rooms import services
from rooms.defaults import new_peer_id, new_worker_id
from rooms.models import MESH_MAX, Participant, Room
from tests.conftest import Enter

pytestmark = pytest.mark.django_db


def seat(room: Room, user: User, number: int | None, **fields: object) -> Participant:
    """Create a participant without ``services``, to test the constraints of the table."""
    return Participant.objects.create(room=room, user=user, seat=number, channel_name="c", **fields)


def test_the_table_rejects_two_live_peers_in_one_seat(room: Room, bob: User) -> None:
    seat(room, bob, 1)
    with pytest.raises(IntegrityError):
        seat(room, bob, 1)


def test_rooms_have_separate_seats(room: Room, bob: User) -> None:
    seat(room, bob, 1)
    seat(Room.objects.create(code="OTHER"), bob, 1)


def test_leaving_frees_the_seat(room: Room, bob: User) -> None:
    seat(room, bob, None, left_at=timezone.now())
    seat(room, bob, 1)


def test_the_table_rejects_a_live_peer_without_a_seat(room: Room, bob: User) -> None:
    with pytest.raises(IntegrityError):
        seat(room, bob, None)


def test_the_table_rejects_seat_zero(room: Room, bob: User) -> None:
    with pytest.raises(IntegrityError):
        seat(room, bob, 0)


def test_the_table_rejects_a_peer_that_left_with_a_seat(room: Room, bob: User) -> None:
    with pytest.raises(IntegrityError):
        seat(room, bob, 1, left_at=timezone.now())


def test_the_table_rejects_a_duplicate_peer_id(room: Room, bob: User) -> None:
    seat(room, bob, 1, peer_id="peer_x")
    with pytest.raises(IntegrityError):
        seat(room, bob, 2, peer_id="peer_x")


@pytest.mark.parametrize("limit", [0, MESH_MAX + 1])
def test_the_table_rejects_a_mesh_limit_of_zero_or_above_ten(limit: int) -> None:
    with pytest.raises(IntegrityError):
        Room.objects.create(p2p_limit=limit)


def test_the_table_rejects_a_total_limit_below_the_mesh_limit() -> None:
    with pytest.raises(IntegrityError):
        Room.objects.create(p2p_limit=5, total_limit=4)


def test_validation_rejects_the_same_limits() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        Room(p2p_limit=11).full_clean()
    with pytest.raises(ValidationError, match="The total limit must be at least the mesh limit"):
        Room(p2p_limit=5, total_limit=4).full_clean()


def test_a_new_room_is_open_and_has_a_code_and_default_limits(settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 4, "TOTAL_LIMIT": 8}
    room = Room.objects.create()
    assert len(room.code) == 10
    assert (room.is_active, room.is_locked, room.mode) == (True, False, "p2p")
    assert (room.p2p_limit, room.total_limit) == (4, 8)


def test_the_limit_of_a_room_depends_on_its_mode() -> None:
    assert Room(p2p_limit=4, total_limit=8, mode="p2p").limit == 4
    assert Room(p2p_limit=4, total_limit=8, mode="sfu").limit == 8


def test_the_public_id_of_a_room_is_its_code_in_lower_case() -> None:
    assert Room(code="ABC123").public_id == "room_abc123"


def test_rooms_and_participants_have_readable_names(room: Room, bob: User, enter: Enter) -> None:
    assert str(room) == "Tea (ABC123)"
    assert str(Room(code="ABC")) == "ABC"
    assert str(enter(bob).participant) == f"bob in {room.pk}"


def test_peer_ids_are_long_random_and_fit_their_column() -> None:
    peer_ids = {new_peer_id() for _ in range(1000)}
    assert len(peer_ids) == 1000
    assert {len(peer_id) for peer_id in peer_ids} == {27}
    assert all(peer_id.startswith("peer_") for peer_id in peer_ids)


def test_worker_ids_are_random_and_fill_their_column() -> None:
    worker_ids = {new_worker_id() for _ in range(100)}
    assert len(worker_ids) == 100
    assert {len(worker_id) for worker_id in worker_ids} == {32}


def test_a_participant_is_live_until_it_leaves() -> None:
    assert Participant().is_live
    assert not Participant(left_at=timezone.now()).is_live


def test_a_participant_is_away_until_it_leaves() -> None:
    now = timezone.now()
    assert Participant(away_until=now).is_away
    assert not Participant().is_away
    assert not Participant(away_until=now, left_at=now).is_away


def test_a_report_to_receive_counts_for_one_version_of_the_mode() -> None:
    receiving, failed = (Participant(sfu_version=2, sfu_state=s) for s in ("receiving", "failed"))
    assert [receiving.receives_through_sfu(version) for version in (1, 2, 3)] == [
        False,
        True,
        False,
    ]
    assert not failed.receives_through_sfu(2)


def test_rooms_are_ordered_newest_first() -> None:
    now = timezone.now()
    for age in (2, 1, 3):
        Room.objects.create(code=f"AGE-{age}", created_at=now - timedelta(days=age))
    assert [room.code for room in Room.objects.all()] == ["AGE-1", "AGE-2", "AGE-3"]


def test_a_room_survives_the_deletion_of_its_host(room: Room, alice: User) -> None:
    alice.delete()
    room.refresh_from_db()
    assert room.host is None


def test_user_info_can_contain_dates_and_decimals(room: Room, bob: User) -> None:
    seat(room, bob, 1, user_info={"since": bob.date_joined, "balance": Decimal(1)})
    assert Participant.objects.get().user_info["balance"] == "1"


# --- Querysets ---------------------------------------------------------------------------------


def test_live_counts_exclude_peers_that_have_left(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    Room.objects.create(code="EMPTY")
    enter(alice)
    services.leave(enter(bob).participant.peer_id)
    counts = {room.code: room.live_count for room in Room.objects.with_live_counts()}
    assert counts == {"ABC123": 1, "EMPTY": 0}


def test_live_counts_are_one_query(
    room: Room, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Room.objects.bulk_create(Room(code=f"ROOM-{number}") for number in range(20))
    with django_assert_num_queries(1):
        assert len(Room.objects.with_live_counts()) == 21


def test_live_counts_use_the_index_of_occupied_seats() -> None:
    plan = Room.objects.with_live_counts().explain()
    assert "signalling_one_peer_per_seat" in plan, plan


def test_hosted_by_returns_open_rooms_newest_first(room: Room, alice: User, bob: User) -> None:
    services.open_room(host=bob, code="OTHER")
    services.close_room(services.open_room(host=alice, code="CLOSED"))
    newest = services.open_room(host=alice, code="NEWEST")
    assert list(Room.objects.hosted_by(alice)) == [newest, room]
    assert list(Room.objects.hosted_by(AnonymousUser())) == []


def test_live_excludes_peers_that_have_left(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    stays = enter(alice).participant
    services.leave(enter(bob).participant.peer_id)
    assert list(Participant.objects.live()) == [stays]
    assert list(room.participants.live()) == [stays]
