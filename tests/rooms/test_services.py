from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Thread
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from rooms import admission, exceptions, services, signals
from rooms.exceptions import RoomError
from rooms.models import Participant, Room
from tests.conftest import Enter, statements

pytestmark = pytest.mark.django_db

Heard = list[tuple[str, Any]]
NAMES = ("room_opened", "room_closed", "participant_joined", "participant_left")


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What the domain's signals said, in order."""
    said: Heard = []
    receivers = []
    for name in NAMES:

        def receive(*, name: str = name, **arguments: Any) -> None:
            said.append((name, arguments.get("room") or arguments.get("participant")))

        receivers.append((getattr(signals, name), receive))
        getattr(signals, name).connect(receive)
    yield said
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def fill(room: Room, user: User, enter: Enter, count: int) -> list[Participant]:
    return [enter(user, room).participant for _ in range(count)]


def seats(room: Room) -> list[int | None]:
    return sorted(
        room.participants.live().values_list("seat", flat=True), key=lambda seat: seat or 0
    )


# --- open_room --------------------------------------------------------------------------------


def test_a_room_is_opened_with_a_code_of_its_own(alice: User) -> None:
    room = services.open_room(host=alice, name="Tea")
    assert (room.host, room.name, room.is_active) == (alice, "Tea", True)
    assert Room.objects.get(code=room.code) == room


def test_a_room_may_have_a_chosen_code_in_any_case(alice: User) -> None:
    assert services.open_room(host=alice, code="tea-time").code == "TEA-TIME"


def test_a_room_needs_no_host() -> None:
    assert services.open_room(host=None).host is None


@pytest.mark.parametrize("code", ["ABC123", "abc123", " Abc123 "])
def test_a_taken_code_is_refused_in_any_case(room: Room, bob: User, code: str) -> None:
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=bob, code=code)
    assert Room.objects.count() == 1


def test_the_code_of_a_closed_room_stays_taken(room: Room, bob: User) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=bob, code="ABC123")


def test_a_code_of_another_form_is_refused(alice: User) -> None:
    with pytest.raises(exceptions.CodeInvalid):
        services.open_room(host=alice, code="no way")


def test_a_policy_may_forbid_to_open_rooms(alice: User, settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_CREATE": "tests.rooms.hooks.nobody"}
    with pytest.raises(exceptions.Forbidden):
        services.open_room(host=alice)
    services.open_room(host=None)  # the site itself asks no policy


def test_a_site_may_make_its_own_codes(alice: User, settings: Settings) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.tea"}
    assert services.open_room(host=alice).code == "TEA"
    with pytest.raises(exceptions.CodeTaken):
        services.open_room(host=alice)


def test_a_code_that_was_made_and_is_taken_is_made_anew(
    room: Room, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(["ABC123", "ABC123", "FRESH"])
    monkeypatch.setattr("rooms.codes.generate", lambda: next(made))
    assert services.open_room(host=alice).code == "FRESH"


def test_another_conflict_than_the_code_is_not_called_one(alice: User, settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 5, "TOTAL_LIMIT": 4}
    with pytest.raises(IntegrityError):
        services.open_room(host=alice, code="TEA")


def test_opening_a_room_is_one_statement(alice: User) -> None:
    with statements() as said:
        services.open_room(host=alice)
    assert len(said) == 1


# --- find_room --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ABC123", "abc123", " aBc123 "])
def test_a_room_is_found_with_its_live_count(
    room: Room, bob: User, enter: Enter, code: str
) -> None:
    enter(bob)
    found: Any = services.find_room(code)
    assert found == room
    assert found.live_count == 1


@pytest.mark.parametrize("code", ["ABC124", "", "no way", "ü" * 5])
def test_a_room_that_is_not_there_is_not_found(room: Room, code: str) -> None:
    with pytest.raises(exceptions.RoomNotFound):
        services.find_room(code)


def test_a_closed_room_is_closed_and_not_missing(room: Room) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.RoomClosed):
        services.find_room("ABC123")


# --- join -------------------------------------------------------------------------------------


def test_the_first_peer_takes_the_first_seat(room: Room, bob: User) -> None:
    joined = services.join(code="abc123", user=bob, peer_id="peer_b", channel_name="c!b")
    participant = joined.participant
    assert joined.room == room
    assert joined.others == []
    assert (participant.peer_id, participant.channel_name, participant.seat) == ("peer_b", "c!b", 1)
    assert (participant.role, participant.user_info) == ("member", {"username": "bob"})
    assert participant.is_live


def test_a_newcomer_is_given_the_others_in_the_order_of_their_seats(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    first, second = fill(room, bob, enter, 2)
    assert enter(alice).others == [first, second]


def test_who_has_left_is_no_longer_among_the_others(room: Room, bob: User, enter: Enter) -> None:
    services.leave(enter(bob).participant.peer_id)
    assert enter(bob).others == []


def test_the_creator_is_the_host(room: Room, alice: User, enter: Enter) -> None:
    assert enter(alice).participant.role == "host"


def test_nobody_is_the_host_of_a_room_without_one(bob: User, enter: Enter) -> None:
    services.open_room(host=None, code="NOBODY")
    assert enter(bob, "NOBODY").participant.role == "member"


def test_one_user_may_be_in_a_room_from_two_devices(room: Room, bob: User, enter: Enter) -> None:
    first, second = enter(bob), enter(bob)
    assert first.participant.peer_id != second.participant.peer_id
    assert seats(room) == [1, 2]


def test_the_eleventh_is_refused(room: Room, bob: User, enter: Enter) -> None:
    fill(room, bob, enter, 10)
    with pytest.raises(exceptions.RoomFull) as refusal:
        enter(bob)
    assert refusal.value.details == {"limit": 10, "mode": "p2p"}
    assert seats(room) == list(range(1, 11))


def test_a_full_room_lets_its_host_wait_too(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    fill(room, bob, enter, 10)
    with pytest.raises(exceptions.RoomFull):
        enter(alice)


def test_the_lowest_free_seat_is_taken_next(room: Room, bob: User, enter: Enter) -> None:
    peers = fill(room, bob, enter, 10)
    services.leave(peers[3].peer_id)
    services.leave(peers[6].peer_id)
    assert [enter(bob).participant.seat for _ in range(2)] == [4, 7]
    with pytest.raises(exceptions.RoomFull):
        enter(bob)


def test_a_room_may_have_a_lower_limit(room: Room, bob: User, enter: Enter) -> None:
    Room.objects.update(p2p_limit=2)
    fill(room, bob, enter, 2)
    with pytest.raises(exceptions.RoomFull) as refusal:
        enter(bob)
    assert refusal.value.details == {"limit": 2, "mode": "p2p"}


@pytest.mark.parametrize("change", [{"p2p_limit": 3}, {"mode": "p2p", "p2p_limit": 2}])
def test_after_a_limit_was_lowered_those_above_it_count_too(
    room: Room, bob: User, enter: Enter, change: dict[str, Any]
) -> None:
    Room.objects.update(mode="sfu")
    peers = fill(room, bob, enter, 5)
    Room.objects.update(mode="p2p")
    Room.objects.update(**change)
    services.leave(peers[0].peer_id)  # seat 1 is free, and four people are there
    with pytest.raises(exceptions.RoomFull):
        enter(bob)
    for peer in peers[1:4]:
        services.leave(peer.peer_id)
    assert enter(bob).participant.seat == 1
    assert seats(room) == [1, 5]


def test_who_is_refused_a_seat_by_the_database_tries_again(
    room: Room, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(bob)
    right, wrong = admission.free_seat, [1, 1]
    monkeypatch.setattr(
        admission, "free_seat", lambda *arguments: wrong.pop() if wrong else right(*arguments)
    )
    assert enter(bob).participant.seat == 2
    assert seats(room) == [1, 2]


def test_after_three_times_the_conflict_is_said(
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


@pytest.mark.parametrize("deleted", [True, False])
def test_who_is_no_longer_a_user_cannot_join_with_the_socket_that_is_left(
    room: Room, bob: User, enter: Enter, deleted: bool
) -> None:
    stale = User.objects.get(pk=bob.pk)
    if deleted:
        bob.delete()
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(exceptions.UserInactive) as refusal:
        enter(stale)
    assert refusal.value.code == "user_inactive"
    assert seats(room) == []


@pytest.mark.parametrize("code", ["ABC124", "", "no way"])
def test_a_room_that_is_not_there_cannot_be_joined(room: Room, bob: User, code: str) -> None:
    with pytest.raises(exceptions.RoomNotFound):
        services.join(code=code, user=bob, peer_id="p", channel_name="c")


def test_a_closed_room_lets_nobody_in(room: Room, alice: User, enter: Enter) -> None:
    services.close_room(room)
    with pytest.raises(exceptions.RoomClosed):
        enter(alice)


def test_a_locked_room_lets_its_host_in_and_nobody_else(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    Room.objects.update(is_locked=True)
    with pytest.raises(exceptions.RoomLocked):
        enter(bob)
    assert enter(alice).participant.role == "host"


def test_a_policy_may_forbid_to_join(
    room: Room, alice: User, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_bob"}
    with pytest.raises(exceptions.Forbidden):
        enter(alice)
    enter(bob)


def test_a_policy_sees_the_room(room: Room, bob: User, enter: Enter, settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    with pytest.raises(exceptions.Forbidden):
        enter(bob)


def test_a_site_may_say_more_of_its_users(
    room: Room, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.shout"}
    assert enter(bob).participant.user_info == {"username": "BOB", "colour": "red"}


@pytest.mark.parametrize("hook", ["CAN_JOIN", "USER_INFO"])
def test_a_hook_with_a_bug_leaves_nobody_in_the_room(
    room: Room, bob: User, enter: Enter, settings: Settings, hook: str
) -> None:
    settings.SIGNALLING = {hook: "tests.rooms.hooks.explode"}
    with pytest.raises(RuntimeError):
        enter(bob)
    assert seats(room) == []


@pytest.mark.parametrize("others", [0, 9])
def test_a_join_is_three_statements_whatever_the_size_of_the_room(
    room: Room, bob: User, enter: Enter, others: int
) -> None:
    fill(room, bob, enter, others)
    with statements() as said:
        services.join(code="ABC123", user=bob, peer_id="peer_x", channel_name="c!x")
    assert [sql.split()[0] for sql in said] == ["SELECT", "SELECT", "INSERT"], said


# --- leave ------------------------------------------------------------------------------------


def test_a_leave_frees_the_seat_and_says_why(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    assert services.leave(peer.peer_id, reason=Participant.Reason.DISCONNECTED)
    peer.refresh_from_db()
    assert (peer.seat, peer.reason, peer.is_live) == (None, "disconnected", False)


def test_a_leave_is_true_once(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    assert [services.leave(peer.peer_id) for _ in range(3)] == [True, False, False]


def test_a_second_leave_does_not_change_the_reason(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.leave(peer.peer_id, reason="left")
    left_at = Participant.objects.get().left_at
    services.leave(peer.peer_id, reason="disconnected")
    peer.refresh_from_db()
    assert (peer.reason, peer.left_at) == ("left", left_at)


def test_who_never_joined_cannot_leave() -> None:
    assert services.leave("peer_of_nobody") is False


def test_a_leave_is_one_statement(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    with statements() as said:
        services.leave(peer.peer_id)
    assert len(said) == 1, said


# --- close_room -------------------------------------------------------------------------------


def test_a_closed_room_is_empty(room: Room, alice: User, bob: User, enter: Enter) -> None:
    enter(alice)
    gone = enter(bob).participant
    services.leave(gone.peer_id)
    services.close_room(room)
    assert not room.is_active
    assert not Room.objects.get().is_active
    assert seats(room) == []
    reasons = room.participants.order_by("pk").values_list("reason", flat=True)
    assert list(reasons) == ["room_closed", "left"]


def test_closing_twice_changes_nothing(room: Room, heard: Heard, bob: User) -> None:
    services.close_room(room)
    with statements() as said:
        services.close_room(Room.objects.get())
    assert len(said) == 2, said  # the look above, and one update that meets no row


def test_closing_one_room_leaves_the_others_alone(room: Room, bob: User, enter: Enter) -> None:
    other = services.open_room(host=bob, code="OTHER")
    enter(bob, other)
    services.close_room(room)
    assert seats(other) == [1]


# --- set_locked -------------------------------------------------------------------------------


def test_a_room_is_locked_once_and_unlocked_once(room: Room) -> None:
    for locked in (True, False):
        assert services.set_locked(room, locked)
        assert not services.set_locked(room, locked)
        assert room.is_locked == locked
        assert Room.objects.get().is_locked == locked


# --- update_participant --------------------------------------------------------------------------


def test_absent_values_of_a_presence_stay(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, media={"audio": True, "video": True})
    services.update_participant(peer.peer_id, media={"video": False}, display_name="Bobby")
    services.update_participant(peer.peer_id)
    peer.refresh_from_db()
    assert peer.media == {"audio": True, "video": False}
    assert peer.user_info == {"username": "bob", "displayName": "Bobby"}


def test_a_display_name_may_be_taken_back(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, display_name="Bobby")
    services.update_participant(peer.peer_id, display_name="")
    peer.refresh_from_db()
    assert peer.user_info["displayName"] == ""


def test_a_newcomer_is_given_the_presence_of_the_others(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, media={"audio": False}, display_name="Bobby")
    (other,) = enter(alice).others
    assert other.media == {"audio": False}
    assert other.user_info["displayName"] == "Bobby"


def test_who_has_left_has_no_presence(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    services.leave(peer.peer_id)
    for peer_id in (peer.peer_id, "peer_of_nobody"):
        with pytest.raises(exceptions.NotInRoom):
            services.update_participant(peer_id, media={"audio": True})


def test_a_presence_is_two_statements(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    with statements() as said:
        services.update_participant(peer.peer_id, media={"audio": True})
    assert [sql.split()[0] for sql in said] == ["SELECT", "UPDATE"], said


# --- signals ----------------------------------------------------------------------------------


def test_signals_are_sent_after_the_commit_and_not_before(
    heard: Heard,
    alice: User,
    bob: User,
    enter: Enter,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        room = services.open_room(host=alice, code="TEA")
        stays = enter(alice, room).participant
        goes = enter(bob, room).participant
        services.leave(goes.peer_id)
        services.leave(goes.peer_id)
        services.close_room(room)
        services.close_room(room)
        assert heard == []
    assert heard == [
        ("room_opened", room),
        ("participant_joined", stays),
        ("participant_joined", goes),
        ("participant_left", goes),
        ("participant_left", stays),
        ("room_closed", room),
    ]
    reasons = [subject.reason for name, subject in heard if name == "participant_left"]
    assert reasons == ["left", "room_closed"]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told(room: Room, bob: User, enter: Enter, heard: Heard) -> None:
    def join_and_fail() -> None:
        with transaction.atomic():
            enter(bob)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        join_and_fail()
    assert heard == []
    assert seats(room) == []


def test_a_refused_join_is_not_told(
    room: Room,
    bob: User,
    enter: Enter,
    heard: Heard,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    Room.objects.update(is_locked=True)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RoomError):
        enter(bob)
    assert heard == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_does_not_disturb_the_call(
    room: Room, bob: User, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(**arguments: object) -> None:
        raise RuntimeError("a bug of the host site")

    signals.participant_joined.connect(explode)
    try:
        assert enter(bob).participant.is_live
    finally:
        signals.participant_joined.disconnect(explode)
    assert "a bug of the host site" in caplog.text


# --- races ------------------------------------------------------------------------------------


def at_once(*joins: tuple[User, str]) -> list[Participant | RoomError]:
    """Join from as many threads as there are joins, all of them let go at one moment."""
    barrier = Barrier(len(joins))
    outcomes: list[Participant | RoomError] = []

    def run(user: User, peer_id: str) -> None:
        connection.ensure_connection()
        barrier.wait(10)
        try:
            joined = services.join(code="ABC123", user=user, peer_id=peer_id, channel_name="c")
            outcomes.append(joined.participant)
        except RoomError as refusal:
            outcomes.append(refusal)
        finally:
            connection.close()

    threads = [Thread(target=run, args=join, daemon=True) for join in joins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


@pytest.mark.django_db(transaction=True)
def test_two_who_join_at_once_take_two_seats(room: Room, alice: User, bob: User) -> None:
    for attempt in range(5):
        outcomes = at_once((alice, f"peer_a{attempt}"), (bob, f"peer_b{attempt}"))
        taken = sorted(getattr(outcome, "seat", 0) for outcome in outcomes)
        assert taken == [1, 2], outcomes
        for outcome in outcomes:
            assert isinstance(outcome, Participant)
            services.leave(outcome.peer_id)


@pytest.mark.django_db(transaction=True)
def test_of_those_who_join_at_once_as_many_are_let_in_as_there_are_seats(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    fill(room, bob, enter, 9)
    outcomes = at_once(*((user, f"peer_of_{user.username}") for user in (alice, bob)))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Participant", "RoomFull"]
    assert seats(room) == list(range(1, 11))


@pytest.mark.django_db(transaction=True)
def test_of_two_who_leave_for_one_peer_at_once_one_is_told_so(
    room: Room, bob: User, enter: Enter
) -> None:
    peer_id = enter(bob).participant.peer_id
    barrier = Barrier(2)
    outcomes: list[bool] = []

    def run() -> None:
        connection.ensure_connection()
        barrier.wait(10)
        outcomes.append(services.leave(peer_id))
        connection.close()

    threads = [Thread(target=run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [False, True]
