"""How a room switches from a mesh to an SFU."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from rooms import services, switching
from rooms.conf import conf
from rooms.exceptions import NotInRoom, RoomFull, SfuRequired
from rooms.models import Participant, Room
from tests.conftest import Enter
from tests.rooms.helpers import Changes, fill, reconcile, record, reload

pytestmark = pytest.mark.django_db


# --- Joins ------------------------------------------------------------------------------------


def test_a_full_mesh_requires_an_sfu(small: Room, bob: User, enter: Enter) -> None:
    fill(small, bob, enter, 3, sfu=None)
    with pytest.raises(SfuRequired):
        enter(bob, small, sfu=None)
    assert reload(small).participants.live().count() == 3


def test_without_a_healthy_sfu_a_full_mesh_rejects_joins(
    small: Room, bob: User, enter: Enter
) -> None:
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull) as error:
        enter(bob, small, sfu="")
    assert error.value.details == {"limit": 3, "mode": "p2p"}
    assert reload(small).mode_version == 0


def test_with_a_healthy_sfu_the_next_join_switches_the_room(
    small: Room, peers: list[Participant]
) -> None:
    room = reload(small)
    assert (room.mode, room.mode_version, room.sfu) == ("sfu", 1, "default")
    assert room.is_switching
    assert room.participants.live().count() == 4


def test_the_total_limit_applies_with_an_sfu(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    enter(bob, small)
    with pytest.raises(RoomFull) as error:
        enter(bob, small, sfu="default")
    assert error.value.details == {"limit": 5, "mode": "sfu"}


def test_a_room_with_equal_limits_requires_no_sfu(small: Room, bob: User, enter: Enter) -> None:
    Room.objects.filter(pk=small.pk).update(total_limit=3)
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull):
        enter(bob, small, sfu=None)


def test_a_room_with_topology_mesh_requires_no_sfu(small: Room, bob: User, enter: Enter) -> None:
    Room.objects.filter(pk=small.pk).update(topology=Room.Topology.MESH)
    fill(small, bob, enter, 3)
    with pytest.raises(RoomFull):
        enter(bob, small, sfu=None)


def test_a_room_with_topology_sfu_starts_with_the_sfu(bob: User, enter: Enter) -> None:
    room = services.open_room(host=bob, topology=Room.Topology.SFU)
    with pytest.raises(SfuRequired):
        enter(bob, room, sfu=None)
    enter(bob, room, sfu="default")
    assert (reload(room).mode, reload(room).is_switching) == ("sfu", False)


def test_a_room_with_topology_sfu_is_a_mesh_without_a_healthy_sfu(bob: User, enter: Enter) -> None:
    room = services.open_room(host=bob, topology=Room.Topology.SFU)
    enter(bob, room, sfu="")
    assert reload(room).mode == "p2p"
    enter(bob, room, sfu="default")
    assert (reload(room).mode, reload(room).is_switching) == ("sfu", True)


def test_a_join_to_an_empty_room_starts_a_mesh(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    for peer in peers:
        services.leave(peer.peer_id)
    assert enter(bob, small).room.mode == "p2p"
    assert reload(small).mode_version == 2


# --- The switch -------------------------------------------------------------------------------


def pass_deadline(room: Room) -> None:
    """Let the deadline of a switch pass."""
    past = timezone.now() - timedelta(seconds=1)
    Room.objects.filter(pk=room.pk).update(switching_until=past)


def pass_first_third(room: Room) -> None:
    """Let the time pass in which reports of failures are not final."""
    left = timedelta(seconds=conf().switch_seconds * 2 / 3 - 1)
    Room.objects.filter(pk=room.pk).update(switching_until=timezone.now() + left)


def test_a_switch_is_committed_when_all_peers_receive(
    small: Room,
    peers: list[Participant],
    changes: Changes,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    for peer in peers[:3]:
        assert record(peer, 1)
        assert reload(small).is_switching
    with django_capture_on_commit_callbacks(execute=True):
        assert record(peers[3], 1)
    assert not reload(small).is_switching
    assert changes == [("sfu", 1, "committed", [])]


def test_a_repeated_report_counts(small: Room, peers: list[Participant]) -> None:
    assert [record(peers[0], 1) for _ in range(2)] == [True, True]


def test_a_switch_does_not_wait_for_peers_that_are_away(
    small: Room, peers: list[Participant]
) -> None:
    Participant.objects.filter(pk=peers[0].pk).update(away_until=timezone.now())
    for peer in peers[1:]:
        record(peer, 1)
    assert not reload(small).is_switching


def test_reports_for_another_version_do_not_count(small: Room, peers: list[Participant]) -> None:
    assert not any(record(peer, version) for peer in peers for version in (0, 2))
    assert reload(small).is_switching


def test_reports_do_not_count_in_a_mesh(small: Room, bob: User, enter: Enter) -> None:
    assert not record(enter(bob, small).participant, 0)


def test_peers_that_have_left_cannot_report(small: Room, peers: list[Participant]) -> None:
    services.leave(peers[0].peer_id)
    with pytest.raises(NotInRoom):
        record(peers[0], 1)


def test_a_previous_socket_cannot_report(small: Room, peers: list[Participant]) -> None:
    Participant.objects.filter(pk=peers[0].pk).update(epoch=1)
    with pytest.raises(NotInRoom):
        record(peers[0], 1)


def test_a_switch_is_not_decided_before_its_deadline(small: Room, peers: list[Participant]) -> None:
    record(peers[0], 1)
    assert reconcile() == [small]
    assert reload(small).is_switching


def test_four_of_five_peers_are_a_quorum_at_the_deadline(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    enter(bob, small)
    for peer in peers:
        record(peer, 1)
    pass_deadline(small)
    assert reconcile() == [small]
    assert (reload(small).mode, reload(small).is_switching) == ("sfu", False)


def test_without_a_quorum_the_switch_is_rolled_back_and_the_last_peers_leave(
    small: Room,
    bob: User,
    enter: Enter,
    peers: list[Participant],
    changes: Changes,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    fifth = enter(bob, small).participant
    for peer in peers[:3]:
        record(peer, 1)
    pass_deadline(small)
    with django_capture_on_commit_callbacks(execute=True):
        assert reconcile() == []
    assert (reload(small).mode, reload(small).sfu) == ("p2p", "")
    assert set(reload(small).participants.live()) == set(peers[:3])
    surplus = [peers[3].peer_id, fifth.peer_id]
    assert changes == [("p2p", 2, "sfu_unreachable", surplus)]


def test_a_switch_is_rolled_back_once_the_quorum_is_out_of_reach(
    small: Room, peers: list[Participant]
) -> None:
    pass_first_third(small)
    record(peers[0], 1, "failed")
    assert reload(small).mode == "p2p"


@pytest.mark.parametrize(("seconds", "left", "mode"), [(15, 12, "sfu"), (1, 0.5, "p2p")])
def test_failures_are_final_after_a_third_of_the_time(
    small: Room,
    peers: list[Participant],
    settings: Settings,
    seconds: float,
    left: float,
    mode: str,
) -> None:
    settings.SIGNALLING = {"SWITCH_SECONDS": seconds}
    until = timezone.now() + timedelta(seconds=left)
    Room.objects.filter(pk=small.pk).update(switching_until=until)
    record(peers[0], 1, "failed")
    assert reload(small).mode == mode


def test_one_failure_of_five_does_not_roll_a_switch_back(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    enter(bob, small)
    pass_first_third(small)
    record(peers[0], 1, "failed")
    assert reload(small).is_switching


def test_a_room_does_not_switch_again_soon_after_a_failed_switch(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    pass_first_third(small)
    record(peers[0], 1, "failed")
    with pytest.raises(RoomFull):
        enter(bob, small, sfu="default")
    past = timezone.now() - timedelta(seconds=1)
    Room.objects.filter(pk=small.pk).update(no_sfu_before=past)
    assert enter(bob, small, sfu="default").room.mode_version == 3


# --- Peers that lie ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def long_switches(settings: Settings) -> None:
    """No deadline passes on a busy machine."""
    settings.SIGNALLING = {**settings.SIGNALLING, "SWITCH_SECONDS": 600}


@pytest.fixture
def eleven(room: Room, bob: User, enter: Enter) -> list[Participant]:
    """Eleven peers in ABC123. The eleventh made it switch to the SFU."""
    return [*fill(room, bob, enter, 10), *fill(room, bob, enter, 1, sfu="default")]


def carry(room: Room, peers: list[Participant], version: int = 1) -> None:
    """Record that the SFU has a media connection with these peers, and no others."""
    peer_ids = [peer.peer_id for peer in peers]
    switching.record_carried(room.code, version=version, peer_ids=peer_ids)


@pytest.mark.parametrize("lie", ["failed", None])
def test_three_of_eleven_peers_cannot_veto_a_switch(
    room: Room, eleven: list[Participant], lie: str | None
) -> None:
    for peer in eleven[:3]:
        if lie is not None:
            record(peer, 1, lie)
    carry(room, eleven)
    for peer in eleven[3:]:
        record(peer, 1)
    pass_first_third(room)
    reconcile()
    assert reload(room).is_switching
    pass_deadline(room)
    reconcile()
    assert (reload(room).mode, reload(room).is_switching) == ("sfu", False)


def test_early_reports_of_failures_do_not_end_a_switch(
    room: Room, eleven: list[Participant]
) -> None:
    for peer in eleven:
        record(peer, 1, "failed")
    assert reload(room).is_switching
    pass_first_third(room)
    assert reconcile() == []


def test_peers_that_the_sfu_does_not_carry_may_prevent_a_switch(
    room: Room, eleven: list[Participant]
) -> None:
    carry(room, eleven)
    carry(room, eleven[3:])
    for peer in eleven[:3]:
        record(peer, 1, "failed")
    for peer in eleven[3:]:
        record(peer, 1)
    pass_deadline(room)
    assert reconcile() == []


def test_peers_carried_in_another_version_do_not_count(
    room: Room, eleven: list[Participant]
) -> None:
    carry(room, eleven, version=2)
    pass_deadline(room)
    assert reconcile() == []


def test_a_carried_peer_is_waited_for_until_it_receives_the_others(
    room: Room, eleven: list[Participant]
) -> None:
    carry(room, eleven)
    for peer in eleven[1:]:
        record(peer, 1)
    reconcile()
    assert reload(room).is_switching
    assert not Participant.objects.get(pk=eleven[0].pk).receives_through_sfu(1)
    record(eleven[0], 1)
    assert not reload(room).is_switching


def test_only_rooms_that_switch_are_asked_for(room: Room, eleven: list[Participant]) -> None:
    assert switching.find_switching() == [room]
    for peer in eleven:
        record(peer, 1)
    assert switching.find_switching() == []
