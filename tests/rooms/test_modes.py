"""When a room is a mesh and when it is routed through an SFU; who decides that, and what it costs whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from rooms import services, signals
from rooms import switching as rooms_switching
from rooms.exceptions import Forbidden, NotInRoom, RoomFull, SfuRequired, SfuUnavailable
from rooms.models import Participant, Room
from tests.conftest import Enter

pytestmark = pytest.mark.django_db

Changes = list[tuple[str, int, str, list[str]]]


@pytest.fixture
def small(alice: User) -> Room:
    """A room whose mesh has three peers, and which has five in all."""
    return Room.objects.create(code="SMALL", host=alice, p2p_limit=3, total_limit=5)


@pytest.fixture
def changes(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Iterator[Changes]:
    """What was announced: mode, version, reason, and who had to leave; filled at the end of ``with``."""
    said: Changes = []

    def receive(*, room: Room, reason: str, surplus: list[Participant], **rest: Any) -> None:
        said.append((room.mode, room.mode_version, reason, [peer.peer_id for peer in surplus]))

    signals.room_mode_changed.connect(receive)
    yield said
    signals.room_mode_changed.disconnect(receive)


def fill(room: Room, user: User, enter: Enter, count: int, **options: Any) -> list[Participant]:
    return [enter(user, room, **options).participant for _ in range(count)]


def report(peer: Participant, version: int, state: str = "receiving") -> bool:
    return rooms_switching.record_sfu_state(peer.peer_id, epoch=0, version=version, state=state)


def now(room: Room) -> Room:
    return Room.objects.get(pk=room.pk)


def tend() -> list[Room]:
    return rooms_switching.reconcile(frozenset({"default"}))


def is_late(room: Room) -> None:
    Room.objects.filter(pk=room.pk).update(switching_until=timezone.now())


@pytest.fixture
def switching(small: Room, bob: User, enter: Enter) -> list[Participant]:
    """Four peers, of whom the last one has flipped the room."""
    return [*fill(small, bob, enter, 3), *fill(small, bob, enter, 1, sfu="default")]


# --- The way to the SFU -----------------------------------------------------------------------


def test_a_mesh_that_is_full_asks_for_an_sfu(small: Room, bob: User, enter: Enter) -> None:
    fill(small, bob, enter, 3, sfu=None)
    with pytest.raises(SfuRequired):
        enter(bob, small, sfu=None)
    assert now(small).participants.live().count() == 3


def test_without_an_sfu_that_answers_the_next_one_is_refused(
    small: Room, bob: User, enter: Enter
) -> None:
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull) as refused:
        enter(bob, small, sfu="")
    assert refused.value.details == {"limit": 3, "mode": "p2p"}
    assert now(small).mode_version == 0


def test_with_one_the_next_one_flips_the_room_and_is_in(
    small: Room, switching: list[Participant]
) -> None:
    room = now(small)
    assert (room.mode, room.mode_version, room.sfu) == ("sfu", 1, "default")
    assert room.is_switching
    assert room.participants.live().count() == 4


def test_the_total_limit_holds_there(
    small: Room, bob: User, enter: Enter, switching: list[Participant]
) -> None:
    enter(bob, small)
    with pytest.raises(RoomFull) as refused:
        enter(bob, small, sfu="default")
    assert refused.value.details == {"limit": 5, "mode": "sfu"}


def test_a_room_that_is_no_larger_than_its_mesh_asks_for_none(
    small: Room, bob: User, enter: Enter
) -> None:
    Room.objects.filter(pk=small.pk).update(total_limit=3)
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull):
        enter(bob, small, sfu=None)


def test_a_room_may_always_be_a_mesh(small: Room, bob: User, enter: Enter) -> None:
    Room.objects.filter(pk=small.pk).update(topology=Room.Topology.MESH)
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull):
        enter(bob, small, sfu=None)


def test_a_room_may_begin_with_the_sfu(bob: User, enter: Enter) -> None:
    room = services.open_room(host=bob, topology=Room.Topology.SFU)
    with pytest.raises(SfuRequired):
        enter(bob, room, sfu=None)
    enter(bob, room, sfu="default")
    assert (now(room).mode, now(room).is_switching) == ("sfu", False)


def test_such_a_room_is_a_mesh_while_no_sfu_answers(bob: User, enter: Enter) -> None:
    room = services.open_room(host=bob, topology=Room.Topology.SFU)
    enter(bob, room, sfu="")
    assert now(room).mode == "p2p"
    enter(bob, room, sfu="default")
    assert (now(room).mode, now(room).is_switching) == ("sfu", True)


def test_who_comes_into_a_room_that_was_left_begins_a_mesh(
    small: Room, bob: User, enter: Enter, switching: list[Participant]
) -> None:
    for peer in switching:
        services.leave(peer.peer_id)
    assert enter(bob, small).room.mode == "p2p"
    assert now(small).mode_version == 2


# --- The switch ---------------------------------------------------------------------------------


def test_a_switch_is_committed_when_all_have_arrived(
    small: Room,
    switching: list[Participant],
    changes: Changes,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    for peer in switching[:3]:
        assert report(peer, 1)
        assert now(small).is_switching
    with django_capture_on_commit_callbacks(execute=True):
        assert report(switching[3], 1)
    assert not now(small).is_switching
    assert changes == [("sfu", 1, "committed", [])]


def test_those_who_are_away_are_not_waited_for(small: Room, switching: list[Participant]) -> None:
    Participant.objects.filter(pk=switching[0].pk).update(away_until=timezone.now())
    for peer in switching[1:]:
        report(peer, 1)
    assert not now(small).is_switching


def test_what_is_said_of_another_version_does_not_count(
    small: Room, switching: list[Participant]
) -> None:
    assert not any(report(peer, version) for peer in switching for version in (0, 2))
    assert now(small).is_switching


def test_in_a_mesh_nothing_is_to_be_said(small: Room, bob: User, enter: Enter) -> None:
    assert not report(enter(bob, small).participant, 0)


def test_who_has_left_reports_nothing(small: Room, switching: list[Participant]) -> None:
    services.leave(switching[0].peer_id)
    with pytest.raises(NotInRoom):
        report(switching[0], 1)


def test_a_former_socket_reports_nothing(small: Room, switching: list[Participant]) -> None:
    Participant.objects.filter(pk=switching[0].pk).update(epoch=1)
    with pytest.raises(NotInRoom):
        report(switching[0], 1)


def test_nothing_is_decided_before_its_time(small: Room, switching: list[Participant]) -> None:
    report(switching[0], 1)
    assert tend() == [small]
    assert now(small).is_switching


def test_at_the_end_of_its_time_four_of_five_are_enough(
    small: Room, bob: User, enter: Enter, switching: list[Participant]
) -> None:
    enter(bob, small)
    for peer in switching:
        report(peer, 1)
    is_late(small)
    assert tend() == [small]
    assert (now(small).mode, now(small).is_switching) == ("sfu", False)


def test_three_of_five_are_not_and_the_last_who_came_have_to_leave(
    small: Room,
    bob: User,
    enter: Enter,
    switching: list[Participant],
    changes: Changes,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    fifth = enter(bob, small).participant
    for peer in switching[:3]:
        report(peer, 1)
    is_late(small)
    with django_capture_on_commit_callbacks(execute=True):
        assert tend() == []
    assert (now(small).mode, now(small).sfu) == ("p2p", "")
    assert set(now(small).participants.live()) == set(switching[:3])
    surplus = [switching[3].peer_id, fifth.peer_id]
    assert changes == [("p2p", 2, "sfu_unreachable", surplus)]


def test_a_quorum_that_cannot_be_reached_any_more_is_not_waited_for(
    small: Room, switching: list[Participant]
) -> None:
    report(switching[0], 1, "failed")
    assert now(small).mode == "p2p"


def test_one_failure_of_five_is_no_reason(
    small: Room, bob: User, enter: Enter, switching: list[Participant]
) -> None:
    enter(bob, small)
    report(switching[0], 1, "failed")
    assert now(small).is_switching


def test_after_a_switch_that_has_failed_the_room_is_full_for_a_while(
    small: Room, bob: User, enter: Enter, switching: list[Participant]
) -> None:
    report(switching[0], 1, "failed")
    with pytest.raises(RoomFull):
        enter(bob, small, sfu="default")
    Room.objects.filter(pk=small.pk).update(no_sfu_before=timezone.now())
    assert enter(bob, small, sfu="default").room.mode_version == 3


# --- The loss of the SFU ------------------------------------------------------------------------


def test_a_loss_in_the_middle_of_a_switch_takes_it_back(
    small: Room, switching: list[Participant]
) -> None:
    assert rooms_switching.handle_sfu_loss("SMALL", 1)
    assert set(now(small).participants.live()) == set(switching[:3])


def settle(switching: list[Participant]) -> None:
    for peer in switching:
        report(peer, 1)


def test_after_it_a_room_that_fits_into_a_mesh_is_one(
    small: Room, switching: list[Participant]
) -> None:
    settle(switching)
    services.leave(switching[0].peer_id)
    assert rooms_switching.handle_sfu_loss("SMALL", 1)
    assert now(small).mode == "p2p"
    assert set(now(small).participants.live()) == set(switching[1:])


def test_a_larger_one_stays(small: Room, switching: list[Participant]) -> None:
    settle(switching)
    assert not rooms_switching.handle_sfu_loss("SMALL", 1)
    assert (now(small).mode, now(small).mode_version) == ("sfu", 1)


def test_of_many_workers_that_notice_one_changes_the_room(
    small: Room, switching: list[Participant]
) -> None:
    assert rooms_switching.handle_sfu_loss("SMALL", 1)
    assert rooms_switching.handle_sfu_loss("SMALL", 1)
    assert now(small).mode_version == 2


def test_news_of_an_earlier_version_change_nothing(
    small: Room, switching: list[Participant]
) -> None:
    assert not rooms_switching.handle_sfu_loss("SMALL", 0)
    assert now(small).mode == "sfu"


# --- Small again ----------------------------------------------------------------------------------


@pytest.fixture
def small_again(small: Room, switching: list[Participant], settings: Settings) -> Room:
    """Two of four are left, in a site whose rooms go back to a mesh."""
    settings.SIGNALLING = {"BACK_TO_MESH": True, "BACK_TO_MESH_PEERS": 2}
    settle(switching)
    for peer in switching[:2]:
        services.leave(peer.peer_id)
    return small


def has_been_small(room: Room, seconds: float) -> None:
    since = timezone.now() - timedelta(seconds=seconds)
    Room.objects.filter(pk=room.pk).update(small_since=since)


def test_a_small_room_goes_back_to_a_mesh_after_a_while(small_again: Room) -> None:
    assert tend() == [small_again]
    has_been_small(small_again, 59)
    assert tend() == [small_again]
    has_been_small(small_again, 61)
    assert tend() == []
    assert (now(small_again).mode, now(small_again).mode_version) == ("p2p", 2)


def test_who_comes_meanwhile_begins_the_wait_anew(
    small_again: Room, bob: User, enter: Enter
) -> None:
    tend()
    enter(bob, small_again)
    tend()
    assert now(small_again).small_since is None


def test_by_default_a_room_stays_with_its_sfu(small_again: Room, settings: Settings) -> None:
    settings.SIGNALLING = {}
    has_been_small(small_again, 1000)
    assert tend() == [small_again]


def test_a_room_that_began_with_the_sfu_stays_with_it(small_again: Room) -> None:
    Room.objects.filter(pk=small_again.pk).update(topology=Room.Topology.SFU)
    has_been_small(small_again, 1000)
    assert tend() == [small_again]


def test_a_room_whose_sfu_is_in_the_settings_no_more_is_a_mesh(
    small: Room, switching: list[Participant]
) -> None:
    settle(switching)
    assert rooms_switching.reconcile(frozenset()) == []
    assert now(small).mode == "p2p"
    assert set(now(small).participants.live()) == set(switching[:3])


def test_a_room_that_everybody_has_left_is_a_mesh(
    small: Room, switching: list[Participant]
) -> None:
    for peer in switching:
        services.leave(peer.peer_id)
    assert tend() == []
    assert now(small).mode == "p2p"


# --- The host's choice ----------------------------------------------------------------------------


def test_the_host_may_route_a_room_through_the_sfu(
    small: Room, alice: User, bob: User, enter: Enter
) -> None:
    enter(bob, small)
    rooms_switching.set_mode("SMALL", "sfu", user=alice, sfu="default")
    assert (now(small).mode, now(small).is_switching) == ("sfu", True)
    rooms_switching.set_mode("SMALL", "sfu", user=alice, sfu="default")
    assert now(small).mode_version == 1


def test_nobody_else_may_but_the_staff(small: Room, bob: User) -> None:
    with pytest.raises(Forbidden):
        rooms_switching.set_mode("SMALL", "sfu", user=bob, sfu="default")
    bob.is_staff = True
    rooms_switching.set_mode("SMALL", "sfu", user=bob, sfu="default")
    assert now(small).mode == "sfu"


def test_without_an_sfu_that_answers_the_host_is_told_so(small: Room, alice: User) -> None:
    with pytest.raises(SfuUnavailable):
        rooms_switching.set_mode("SMALL", "sfu", user=alice, sfu="")


def test_a_room_that_is_always_a_mesh_is_so_for_its_host_too(small: Room, alice: User) -> None:
    Room.objects.filter(pk=small.pk).update(topology=Room.Topology.MESH)
    with pytest.raises(Forbidden):
        rooms_switching.set_mode("SMALL", "sfu", user=alice, sfu="default")


def test_the_host_may_have_a_mesh_that_holds_all(
    small: Room, alice: User, switching: list[Participant]
) -> None:
    with pytest.raises(RoomFull):
        rooms_switching.set_mode("SMALL", "p2p", user=alice, sfu="")
    services.leave(switching[0].peer_id)
    rooms_switching.set_mode("SMALL", "p2p", user=alice, sfu="")
    assert now(small).mode == "p2p"


# --- Strangers ------------------------------------------------------------------------------------


def test_who_is_in_the_sfu_and_not_in_the_room_is_a_stranger(
    small: Room, switching: list[Participant]
) -> None:
    present, gone, *_ = switching
    rooms_switching.save_claim(gone.peer_id, epoch=0, claim={"session": 7, "publisher": 8})
    services.leave(gone.peer_id)
    asked = {present.peer_id, gone.peer_id, "peer_nobody"}
    assert rooms_switching.find_orphans(asked) == {
        gone.peer_id: {"session": 7, "publisher": 8},
        "peer_nobody": None,
    }
