"""How many seats a user may hold, and which memberships give up their seats."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from rooms import resuming, services, signals
from rooms.exceptions import Evicted, ResumeExpired, RoomFull, SfuRequired, TooManyDevices
from rooms.models import Participant, Room, Worker
from rooms.services import Joined
from tests.conftest import Enter, statements
from tests.rooms.helpers import fill, reload, seats

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def default_settings(settings: Settings) -> None:
    settings.SIGNALLING = {}


@pytest.fixture
def guests(room: Room, enter: Enter) -> list[Participant]:
    """Ten users that fill the room, in the order of their joins."""
    users = [User.objects.create(username=f"guest{number}") for number in range(10)]
    return [enter(user).participant for user in users]


def lose(*peers: Participant, seconds: float = 30) -> None:
    """Mark peers as away for the next ``seconds``."""
    until = timezone.now() + timedelta(seconds=seconds)
    Participant.objects.filter(pk__in=[peer.pk for peer in peers]).update(away_until=until)


def live(room: Room) -> list[Participant]:
    return list(room.participants.live().order_by("pk"))


def resume(user: User, joined: Joined) -> Joined:
    """Resume the membership that ``joined`` has returned."""
    token = joined.resume_token or ""
    return resuming.resume(
        code="ABC123", user=user, token=token, channel_name="c!again", worker_id=None
    )


def reason(peer: Participant) -> str:
    return Participant.objects.get(pk=peer.pk).reason


# --- The limit --------------------------------------------------------------------------------


def test_a_user_has_three_seats(room: Room, bob: User, enter: Enter) -> None:
    fill(room, bob, enter, 3)
    with pytest.raises(TooManyDevices) as error:
        enter(bob)
    assert (error.value.code, error.value.details) == ("too_many_devices", {"limit": 3})
    assert seats(room) == [1, 2, 3]


def test_the_limit_is_for_each_room_and_user(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    services.open_room(host=alice, code="OTHER")
    fill(room, bob, enter, 3)
    enter(bob, "OTHER")
    enter(alice)


def test_a_seat_that_was_left_counts_no_more(room: Room, bob: User, enter: Enter) -> None:
    first, *_ = fill(room, bob, enter, 3)
    services.leave(first.peer_id)
    assert enter(bob).participant.seat == 1


def test_a_site_can_set_the_limit(room: Room, bob: User, enter: Enter, settings: Settings) -> None:
    settings.SIGNALLING = {"SEATS_PER_USER": 1}
    enter(bob)
    with pytest.raises(TooManyDevices):
        enter(bob)


def test_a_full_room_is_full_for_a_user_below_the_limit(
    bob: User, guests: list[Participant], enter: Enter
) -> None:
    with pytest.raises(RoomFull):
        enter(bob)
    with pytest.raises(RoomFull):
        enter(guests[0].user)


def test_the_limit_is_checked_before_the_room_moves_to_an_sfu(
    small: Room, bob: User, enter: Enter
) -> None:
    fill(small, bob, enter, 3)
    with pytest.raises(TooManyDevices):
        enter(bob, small, sfu="default")
    assert reload(small).mode == Room.Mode.P2P


def test_a_resume_takes_no_new_seat(
    room: Room, bob: User, enter: Enter, settings: Settings
) -> None:
    first, *_ = (enter(bob, resumable=True) for _ in range(3))
    settings.SIGNALLING = {"SEATS_PER_USER": 1}
    resumed = resume(bob, first)
    assert resumed.participant == first.participant
    assert seats(room) == [1, 2, 3]


# --- Ghosts -----------------------------------------------------------------------------------


def test_a_seat_of_the_user_that_is_away_is_given_up(room: Room, bob: User, enter: Enter) -> None:
    first, second, third = fill(room, bob, enter, 3)
    lose(second)
    joined = enter(bob)
    assert live(room) == [first, third, joined.participant]
    assert joined.others == [first, third]
    assert reason(second) == "disconnected"


def test_the_peer_that_was_lost_first_is_given_up_first(
    room: Room, bob: User, enter: Enter
) -> None:
    first, second, third = fill(room, bob, enter, 3)
    lose(first, seconds=20)
    lose(third, seconds=10)
    assert set(live(room)) - {enter(bob).participant} == {first, second, third}
    assert reason(third) == "disconnected"
    assert reason(first) == ""


def test_a_peer_of_a_dead_worker_is_given_up_before_one_that_is_away(
    room: Room, bob: User, enter: Enter
) -> None:
    dead = Worker.objects.create(name="dead", expires_at=timezone.now() - timedelta(seconds=1))
    serving = Worker.objects.create(name="alive", expires_at=timezone.now() + timedelta(hours=1))
    away = enter(bob, worker_id=serving.pk).participant
    lost = enter(bob, worker_id=dead.pk).participant
    served = enter(bob, worker_id=serving.pk).participant
    lose(away)
    joined = enter(bob, worker_id=serving.pk)
    assert joined.others == [away, served]
    assert reason(lost) == "disconnected"


def test_ghosts_of_the_user_are_kept_while_there_are_seats(
    room: Room, bob: User, enter: Enter
) -> None:
    lose(enter(bob).participant)
    enter(bob)
    assert seats(room) == [1, 2]


def test_ghosts_of_others_keep_their_seats(
    bob: User, guests: list[Participant], enter: Enter
) -> None:
    lose(*guests)
    with pytest.raises(RoomFull):
        enter(bob)


def test_in_a_full_room_a_user_takes_the_seat_of_its_own_ghost(
    room: Room, guests: list[Participant], enter: Enter
) -> None:
    lose(guests[4])
    assert enter(guests[4].user).participant.seat == 5
    assert seats(room) == list(range(1, 11))


def test_a_full_mesh_needs_no_sfu_if_the_user_has_a_ghost(
    small: Room, bob: User, enter: Enter
) -> None:
    first, *_ = fill(small, bob, enter, 3)
    lose(first)
    assert enter(bob, small, sfu=None).room.mode == Room.Mode.P2P


def test_a_storm_of_reloads_never_fills_a_room(room: Room, bob: User, enter: Enter) -> None:
    for _ in range(20):
        lose(enter(bob, resumable=True).participant)
    assert len(live(room)) == 3


@pytest.mark.parametrize("others", [0, 6, 8, 9])
def test_reloads_of_a_user_take_no_seat_of_others_and_always_get_in(
    room: Room, bob: User, guests: list[Participant], enter: Enter, others: int
) -> None:
    """However the former page was lost: without a close, with its worker, or with a close."""
    for guest in guests[others:]:
        services.leave(guest.peer_id)
    dead = Worker.objects.create(name="dead", expires_at=timezone.now() - timedelta(seconds=1))
    for number in range(12):
        peer = enter(bob, resumable=True).participant
        own = room.participants.live().filter(user=bob).count()
        assert own <= min(3, 10 - others)
        assert live(room)[:others] == guests[:others]
        match number % 4:
            case 0 | 1:
                lose(peer, seconds=30 - number)
            case 2:
                Participant.objects.filter(pk=peer.pk).update(worker=dead)
            case 3:
                services.leave(peer.peer_id)


def test_a_ghost_that_gave_up_its_seat_has_to_join_again(
    room: Room, bob: User, enter: Enter
) -> None:
    first, *_ = (enter(bob, resumable=True) for _ in range(3))
    lose(first.participant)
    enter(bob)
    with pytest.raises(ResumeExpired):
        resume(bob, first)


def test_a_refused_join_ends_no_membership(room: Room, bob: User, enter: Enter) -> None:
    peers = fill(room, bob, enter, 3)
    lose(peers[0])
    Room.objects.update(p2p_limit=1, total_limit=1)
    with pytest.raises(RoomFull):
        enter(bob)
    assert live(room) == peers


# --- The host ---------------------------------------------------------------------------------


def test_the_host_gets_the_newest_seat_of_the_user_that_holds_most(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    for guest in guests[5:]:
        services.leave(guest.peer_id)
    _, newest = fill(room, guests[0].user, enter, 2)
    fill(room, guests[1].user, enter, 1)
    late = [enter(User.objects.create(username=name)).participant for name in ("late", "later")]
    before = live(room)
    joined = enter(alice)
    assert joined.participant.role == "host"
    assert reason(newest) == "evicted"
    assert live(room) == [*(peer for peer in before if peer != newest), joined.participant]
    assert joined.participant.seat == newest.seat
    assert set(late) < set(joined.others)


def test_the_host_gets_the_newest_seat_of_all_if_every_user_holds_one(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    joined = enter(alice)
    assert joined.others == guests[:9]
    assert joined.participant.seat == 10
    assert reason(guests[9]) == "evicted"


def test_no_other_user_evicts(
    room: Room, bob: User, guests: list[Participant], enter: Enter
) -> None:
    bob.is_staff = bob.is_superuser = True
    bob.save()
    with pytest.raises(RoomFull):
        enter(bob)
    assert live(room) == guests


def test_the_host_evicts_nobody_while_there_are_seats(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    services.leave(guests[0].peer_id)
    assert enter(alice).others == guests[1:]


def test_the_host_replaces_its_own_newest_seat_above_the_limit(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    first, second, third = fill(room, alice, enter, 3)
    other = enter(bob).participant
    assert enter(alice).others == [first, second, other]
    assert reason(third) == "evicted"


def test_the_host_gets_in_although_the_limit_was_lowered(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    Room.objects.update(p2p_limit=4)
    assert enter(alice).others == guests[:3]


def test_a_room_with_an_sfu_grows_before_its_host_evicts(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    with pytest.raises(SfuRequired):
        enter(alice, sfu=None)
    assert enter(alice, sfu="default").others == guests


def test_an_evicted_peer_cannot_resume(
    room: Room, alice: User, guests: list[Participant], enter: Enter
) -> None:
    services.leave(guests[9].peer_id)
    last = enter(guests[9].user, resumable=True)
    enter(alice)
    with pytest.raises(Evicted) as error:
        resume(guests[9].user, last)
    assert error.value.code == "evicted"


# --- Signals and statements -------------------------------------------------------------------


def test_an_eviction_is_announced_after_the_commit_of_the_join(
    room: Room,
    alice: User,
    guests: list[Participant],
    enter: Enter,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    sent: list[tuple[str, str]] = []

    def receive(*, participant: Participant, **rest: Any) -> None:
        sent.append((participant.peer_id, participant.reason))

    signals.participant_removed.connect(receive)
    signals.participant_left.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            enter(alice)
            assert sent == []
    finally:
        signals.participant_removed.disconnect(receive)
        signals.participant_left.disconnect(receive)
    assert sent == [(guests[9].peer_id, "evicted")] * 2


def test_several_peers_leave_in_the_order_in_which_all_code_locks_them(
    room: Room, alice: User, enter: Enter, settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    settings.SIGNALLING = {"SEATS_PER_USER": 5}
    peers = fill(room, alice, enter, 5)
    for seconds, peer in enumerate(peers[:2]):
        lose(peer, seconds=10 + seconds)
    settings.SIGNALLING = {"SEATS_PER_USER": 2}
    removed: list[Participant] = []

    def receive(*, participant: Participant, **rest: Any) -> None:
        removed.append(participant)

    signals.participant_removed.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            joined = enter(alice)
    finally:
        signals.participant_removed.disconnect(receive)
    assert joined.others == [peers[2]]
    ghosts, evicted = [peers[1], peers[0]], [peers[4], peers[3]]
    assert removed == [*ghosts, *evicted], "latest first"


def test_the_seats_of_a_user_below_the_limit_cost_no_statement(
    room: Room, bob: User, enter: Enter
) -> None:
    fill(room, bob, enter, 2)
    with statements() as queries:
        enter(bob)
    assert len(queries) == 4, queries
