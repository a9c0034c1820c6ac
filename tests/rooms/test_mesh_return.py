"""How a room returns from an SFU to a mesh, the choice of the host, and orphans at the SFU."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from rooms import services, switching
from rooms.exceptions import Forbidden, RoomFull, RoomNotFound, SfuUnavailable
from rooms.models import Participant, Room
from tests.conftest import Enter, statements
from tests.rooms.helpers import reconcile, record_all, reload

pytestmark = pytest.mark.django_db


# --- SFU loss ---------------------------------------------------------------------------------


def test_sfu_loss_during_a_switch_rolls_it_back(small: Room, peers: list[Participant]) -> None:
    assert switching.handle_sfu_loss("SMALL", 1)
    assert set(reload(small).participants.live()) == set(peers[:3])


def test_sfu_loss_makes_a_room_that_fits_a_mesh_a_mesh(
    small: Room, peers: list[Participant]
) -> None:
    record_all(peers)
    services.leave(peers[0].peer_id)
    assert switching.handle_sfu_loss("SMALL", 1)
    assert reload(small).mode == "p2p"
    assert set(reload(small).participants.live()) == set(peers[1:])


def test_sfu_loss_does_not_change_a_larger_room(small: Room, peers: list[Participant]) -> None:
    record_all(peers)
    assert not switching.handle_sfu_loss("SMALL", 1)
    assert (reload(small).mode, reload(small).mode_version) == ("sfu", 1)


def test_sfu_loss_changes_a_room_once(small: Room, peers: list[Participant]) -> None:
    assert switching.handle_sfu_loss("SMALL", 1)
    assert switching.handle_sfu_loss("SMALL", 1)
    assert reload(small).mode_version == 2


def test_sfu_loss_in_an_earlier_version_changes_nothing(
    small: Room, peers: list[Participant]
) -> None:
    assert not switching.handle_sfu_loss("SMALL", 0)
    assert reload(small).mode == "sfu"


# --- Small rooms ------------------------------------------------------------------------------


@pytest.fixture
def shrunk(small: Room, peers: list[Participant], settings: Settings) -> Room:
    """A room with an SFU and two peers, which a mesh can hold, with BACK_TO_MESH on."""
    settings.SIGNALLING = {"BACK_TO_MESH": True, "BACK_TO_MESH_PEERS": 2}
    record_all(peers)
    for peer in peers[:2]:
        services.leave(peer.peer_id)
    return small


def set_small_since(room: Room, seconds: float) -> None:
    since = timezone.now() - timedelta(seconds=seconds)
    Room.objects.filter(pk=room.pk).update(small_since=since)


def test_a_room_that_stays_small_becomes_a_mesh(shrunk: Room) -> None:
    assert reconcile() == [shrunk]
    assert reload(shrunk).small_since is not None
    set_small_since(shrunk, 59)
    assert reconcile() == [shrunk]
    set_small_since(shrunk, 61)
    assert reconcile() == []
    assert (reload(shrunk).mode, reload(shrunk).mode_version) == ("p2p", 2)


def test_a_join_restarts_the_wait(shrunk: Room, bob: User, enter: Enter) -> None:
    reconcile()
    assert reload(shrunk).small_since is not None
    enter(bob, shrunk)
    reconcile()
    assert reload(shrunk).small_since is None


def test_by_default_a_small_room_keeps_its_sfu(shrunk: Room, settings: Settings) -> None:
    settings.SIGNALLING = {}
    set_small_since(shrunk, 1000)
    assert reconcile() == [shrunk]


def test_a_small_room_with_topology_sfu_keeps_its_sfu(shrunk: Room) -> None:
    Room.objects.filter(pk=shrunk.pk).update(topology=Room.Topology.SFU)
    set_small_since(shrunk, 1000)
    assert reconcile() == [shrunk]


def test_a_room_becomes_a_mesh_if_its_sfu_is_removed_from_the_settings(
    small: Room, peers: list[Participant]
) -> None:
    record_all(peers)
    assert switching.reconcile(frozenset()) == []
    assert reload(small).mode == "p2p"
    assert set(reload(small).participants.live()) == set(peers[:3])


def test_an_empty_room_becomes_a_mesh(small: Room, peers: list[Participant]) -> None:
    for peer in peers:
        services.leave(peer.peer_id)
    assert reconcile() == []
    assert reload(small).mode == "p2p"


def test_a_room_that_is_empty_after_its_switch_becomes_a_mesh(
    small: Room, peers: list[Participant]
) -> None:
    record_all(peers)
    for peer in peers:
        services.leave(peer.peer_id)
    assert reconcile() == []
    assert reload(small).mode == "p2p"


def test_rooms_that_cannot_change_are_not_locked(small: Room, peers: list[Participant]) -> None:
    record_all(peers)
    for peer in peers[1:]:
        services.leave(peer.peer_id)
    with statements() as queries:
        assert reconcile() == [small]
    assert len(queries) == 1, queries


# --- Choice of the host ------------------------------------------------------------------------


def test_the_host_can_switch_a_room_to_the_sfu(
    small: Room, alice: User, bob: User, enter: Enter
) -> None:
    enter(bob, small)
    switching.set_mode("SMALL", "sfu", user=alice, sfu="default")
    assert (reload(small).mode, reload(small).is_switching) == ("sfu", True)
    switching.set_mode("SMALL", "sfu", user=alice, sfu="default")
    assert reload(small).mode_version == 1


def test_of_other_users_only_staff_can_switch_a_room(small: Room, bob: User) -> None:
    with pytest.raises(Forbidden):
        switching.set_mode("SMALL", "sfu", user=bob, sfu="default")
    bob.is_staff = True
    switching.set_mode("SMALL", "sfu", user=bob, sfu="default")
    assert reload(small).mode == "sfu"


def test_a_user_model_without_staff_has_no_staff(small: Room) -> None:
    user: Any = SimpleNamespace(pk=0)
    with pytest.raises(Forbidden):
        switching.set_mode("SMALL", "sfu", user=user, sfu="default")


def test_a_room_that_was_deleted_is_not_found(small: Room, alice: User) -> None:
    small.delete()
    with pytest.raises(RoomNotFound):
        switching.get_room("SMALL")
    with pytest.raises(RoomNotFound):
        switching.set_mode("SMALL", "sfu", user=alice, sfu="default")


def test_the_host_cannot_switch_a_room_without_a_healthy_sfu(small: Room, alice: User) -> None:
    with pytest.raises(SfuUnavailable):
        switching.set_mode("SMALL", "sfu", user=alice, sfu="")


def test_the_host_cannot_switch_a_room_with_topology_mesh(small: Room, alice: User) -> None:
    Room.objects.filter(pk=small.pk).update(topology=Room.Topology.MESH)
    with pytest.raises(Forbidden):
        switching.set_mode("SMALL", "sfu", user=alice, sfu="default")


def test_the_host_can_return_to_a_mesh_that_holds_all_peers(
    small: Room, alice: User, peers: list[Participant]
) -> None:
    with pytest.raises(RoomFull):
        switching.set_mode("SMALL", "p2p", user=alice, sfu="")
    services.leave(peers[0].peer_id)
    switching.set_mode("SMALL", "p2p", user=alice, sfu="")
    assert reload(small).mode == "p2p"


# --- Orphans ----------------------------------------------------------------------------------


def test_find_orphans_returns_peers_that_are_in_no_room_and_their_claims(
    small: Room, peers: list[Participant]
) -> None:
    present, gone, *_ = peers
    switching.save_claim(gone.peer_id, epoch=0, claim={"session": 7, "publisher": 8})
    services.leave(gone.peer_id)
    asked = {present.peer_id, gone.peer_id, "peer_nobody"}
    assert switching.find_orphans(asked) == {
        gone.peer_id: {"session": 7, "publisher": 8},
        "peer_nobody": None,
    }
