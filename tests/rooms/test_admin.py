from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from rooms import leases, services, signals
from rooms.models import Participant, Room
from tests.conftest import Enter, statements

pytestmark = pytest.mark.django_db

ROOMS = reverse("admin:signalling_rooms_room_changelist")
ADD = reverse("admin:signalling_rooms_room_add")
PARTICIPANTS = reverse("admin:signalling_rooms_participant_changelist")


@pytest.fixture
def admin(admin_client: Client) -> Client:
    return admin_client


@pytest.fixture
def closed() -> Iterator[list[str]]:
    """The codes of the rooms for which ``room_closed`` was sent."""
    codes: list[str] = []

    def receive(*, room: Room, **arguments: Any) -> None:
        codes.append(room.code)

    signals.room_closed.connect(receive)
    yield codes
    signals.room_closed.disconnect(receive)


def change_page(thing: Room | Participant) -> str:
    return reverse(f"admin:signalling_rooms_{thing._meta.model_name}_change", args=[thing.pk])


def shown(admin: Client, url: str, **query: str) -> list[Any]:
    """Return the objects on a changelist."""
    response = admin.get(url, query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def codes(admin: Client, **query: str) -> set[str]:
    return {room.code for room in shown(admin, ROOMS, **query)}


def do(admin: Client, action: str, *rooms: Room) -> str:
    form = {"action": action, "_selected_action": [str(room.pk) for room in rooms]}
    response = admin.post(ROOMS, form, follow=True)
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])


def form_of(admin: Client, url: str, **changes: str | None) -> dict[str, Any]:
    """Return the data that the form on a page would post, with some fields changed.

    ``None`` unticks a field.
    """
    form = admin.get(url).context["adminform"].form
    values = {name: form[name].value() for name in form.fields} | changes
    return {name: value for name, value in values.items() if value not in (None, False)}


# --- Rooms ------------------------------------------------------------------------------------


def test_the_room_list_takes_as_many_queries_for_one_room_as_for_thirty(
    admin: Client, room: Room, bob: User, enter: Enter
) -> None:
    admin.get(ROOMS)
    with statements() as for_one:
        admin.get(ROOMS)
    for number in range(29):
        host = User.objects.create_user(f"host{number}")
        other = services.open_room(host=host, name=f"Room {number}")
        enter(bob, other)
        enter(host, other)
    with statements() as for_thirty:
        response = admin.get(ROOMS)
    assert len(response.context["cl"].result_list) == 30
    assert len(for_thirty) == len(for_one), for_thirty


def test_the_room_list_shows_the_number_of_participants(
    admin: Client, room: Room, alice: User, bob: User, enter: Enter
) -> None:
    enter(alice)
    services.leave(enter(bob).participant.peer_id)
    assert "1 / 10" in admin.get(ROOMS).text


@pytest.mark.parametrize("text", ["abc12", "ABC123", "tea", "alice"])
def test_rooms_can_be_searched_by_code_name_and_host(admin: Client, room: Room, text: str) -> None:
    services.open_room(host=None, code="OTHER", name="Milk")
    assert codes(admin, q=text) == {"ABC123"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"is_active__exact": "1"}, {"EMPTY", "USED", "FULL", "LOCKED", "BIG"}),
        ({"is_active__exact": "0"}, {"CLOSED"}),
        ({"is_locked__exact": "1"}, {"LOCKED"}),
        ({"mode__exact": "sfu"}, {"BIG"}),
        ({"occupancy": "empty"}, {"EMPTY", "LOCKED", "CLOSED", "BIG"}),
        ({"occupancy": "in_use"}, {"USED", "FULL"}),
        ({"occupancy": "full"}, {"FULL"}),
        ({"occupancy": "full", "q": "us"}, set()),
    ],
)
def test_rooms_can_be_filtered(
    admin: Client, bob: User, enter: Enter, query: dict[str, str], expected: set[str]
) -> None:
    for code in ("EMPTY", "USED", "FULL"):
        Room.objects.create(code=code, p2p_limit=2)
    Room.objects.create(code="LOCKED", is_locked=True)
    Room.objects.create(code="CLOSED", is_active=False)
    Room.objects.create(code="BIG", mode="sfu")
    for code in ("USED", "FULL", "FULL"):
        enter(bob, code)
    assert codes(admin, **query) == expected


def test_rooms_can_be_filtered_by_age(admin: Client, room: Room) -> None:
    Room.objects.create(code="OLD", created_at=timezone.now() - timedelta(days=400))
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0).isoformat()
    assert codes(admin, created_at__gte=today) == {"ABC123"}
    assert codes(admin, created_at__year=str(Room.objects.get(code="OLD").created_at.year)) == {
        "OLD"
    }


def test_rooms_can_be_sorted_by_number_of_participants(
    admin: Client, room: Room, bob: User, enter: Enter
) -> None:
    other = services.open_room(host=None, code="OTHER")
    enter(bob, other)
    people = "4"  # the fourth column
    assert shown(admin, ROOMS, o=people) == [room, other]
    assert shown(admin, ROOMS, o=f"-{people}") == [other, room]


@pytest.mark.django_db(transaction=True)
def test_closing_rooms_ends_their_memberships(
    admin: Client, room: Room, bob: User, enter: Enter, closed: list[str]
) -> None:
    other = services.open_room(host=bob, code="OTHER")
    untouched = services.open_room(host=bob, code="UNTOUCHED")
    peer = enter(bob).participant
    assert do(admin, "close_rooms", room, other) == "2 rooms changed."
    assert sorted(closed) == ["ABC123", "OTHER"]
    peer.refresh_from_db()
    assert peer.reason == "room_closed"
    assert set(Room.objects.filter(is_active=True)) == {untouched}


@pytest.mark.django_db(transaction=True)
def test_unticking_active_closes_the_room_as_the_action_does(
    admin: Client, room: Room, bob: User, enter: Enter, closed: list[str]
) -> None:
    peer = enter(bob).participant
    url = change_page(room)
    response = admin.post(url, form_of(admin, url, is_active=None, name="Late tea"))
    assert response.status_code == 302
    room.refresh_from_db()
    peer.refresh_from_db()
    assert (room.is_active, room.name) == (False, "Late tea")
    assert peer.reason == "room_closed"
    assert closed == ["ABC123"]


@pytest.mark.django_db(transaction=True)
def test_a_closed_room_can_be_reopened(admin: Client, room: Room, closed: list[str]) -> None:
    services.close_room(room)
    url = change_page(room)
    assert admin.post(url, form_of(admin, url, is_active="on")).status_code == 302
    assert Room.objects.get().is_active
    assert closed == ["ABC123"]


def test_rooms_can_be_locked_and_unlocked(admin: Client, room: Room) -> None:
    assert do(admin, "lock_rooms", room) == "1 room changed."
    assert Room.objects.get().is_locked
    assert do(admin, "unlock_rooms", room) == "1 room changed."
    assert not Room.objects.get().is_locked


def test_users_with_view_permission_get_no_actions(client: Client, room: Room, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.add(Permission.objects.get(codename="view_room"))
    client.force_login(User.objects.get(pk=bob.pk))
    page = client.get(ROOMS)
    assert page.status_code == 200
    assert "close_rooms" not in page.text
    client.post(ROOMS, {"action": "close_rooms", "_selected_action": [str(room.pk)]})
    assert Room.objects.get().is_active


def test_an_added_room_has_the_current_user_as_host(admin: Client, admin_user: User) -> None:
    response = admin.post(ADD, form_of(admin, ADD, code="tea-time", name="Tea"))
    assert response.status_code == 302, response.context["errors"]
    room = Room.objects.get()
    assert (room.code, room.host) == ("TEA-TIME", admin_user)


@pytest.mark.parametrize("code", ["abc123", "no way", "ab", ""])
def test_an_unusable_code_is_an_error_of_the_field(admin: Client, room: Room, code: str) -> None:
    form = form_of(admin, ADD) | {"code": code}
    response = admin.post(ADD, form)
    assert response.status_code == 200
    assert list(response.context["adminform"].form.errors) == ["code"]
    assert Room.objects.count() == 1


def test_a_mesh_limit_of_eleven_is_rejected(admin: Client) -> None:
    response = admin.post(ADD, form_of(admin, ADD, p2p_limit="11"))
    assert "p2p_limit" in response.context["adminform"].form.errors


def test_the_code_of_a_room_cannot_be_changed(admin: Client, room: Room) -> None:
    url = change_page(room)
    page = admin.get(url)
    assert "code" not in page.context["adminform"].form.fields
    admin.post(url, form_of(admin, url, code="OTHER", name="Milk"))
    room.refresh_from_db()
    assert (room.code, room.name, room.is_active) == ("ABC123", "Milk", True)


# --- Participants -----------------------------------------------------------------------------


def test_the_participant_list_takes_as_many_queries_for_one_row_as_for_thirty(
    admin: Client, room: Room, alice: User, enter: Enter
) -> None:
    enter(alice)
    admin.get(PARTICIPANTS)
    with statements() as for_one:
        admin.get(PARTICIPANTS)
    for number in range(29):
        user = User.objects.create_user(f"user{number}")
        enter(user, services.open_room(host=user))
    with statements() as for_thirty:
        assert len(shown(admin, PARTICIPANTS)) == 30
    assert len(for_thirty) == len(for_one), for_thirty


@pytest.mark.parametrize("text", ["bob", "peer_1", "OTHER", "milk"])
def test_participants_can_be_searched_by_peer_user_and_room(
    admin: Client, room: Room, alice: User, bob: User, enter: Enter, text: str
) -> None:
    other = services.open_room(host=None, code="OTHER", name="Milk")
    wanted = enter(bob, other).participant
    enter(alice)
    assert shown(admin, PARTICIPANTS, q=text) == [wanted]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"alice", "bob"}),
        ({"live": "yes"}, {"alice"}),
        ({"live": "no"}, {"bob"}),
        ({"role__exact": "host"}, {"alice"}),
        ({"reason__exact": "disconnected"}, {"bob"}),
    ],
)
def test_participants_can_be_filtered(
    admin: Client,
    room: Room,
    alice: User,
    bob: User,
    enter: Enter,
    query: dict[str, str],
    expected: set[str],
) -> None:
    enter(alice)
    services.leave(enter(bob).participant.peer_id, reason="disconnected")
    assert {peer.user.username for peer in shown(admin, PARTICIPANTS, **query)} == expected


def test_the_participant_list_shows_who_is_in_the_room(
    admin: Client, room: Room, bob: User, enter: Enter
) -> None:
    enter(bob)
    assert "icon-yes.svg" in admin.get(PARTICIPANTS).text


def test_participants_are_read_only(admin: Client, room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob).participant
    url = change_page(peer)
    page = admin.get(url)
    assert peer.peer_id in page.text
    assert 'name="_save"' not in page.text
    assert admin.post(url, {"seat": "2"}).status_code == 403
    assert admin.get(reverse("admin:signalling_rooms_participant_add")).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_participants_are_deleted_only_with_their_room_or_user(
    admin: Client, room: Room, bob: User, enter: Enter, closed: list[str]
) -> None:
    peer = enter(bob).participant
    assert "delete_selected" not in admin.get(PARTICIPANTS).text
    url = reverse("admin:signalling_rooms_participant_delete", args=[peer.pk])
    assert admin.post(url, {"post": "yes"}).status_code == 403
    for thing in (room, bob):
        name = f"admin:{thing._meta.app_label}_{thing._meta.model_name}_delete"
        url = reverse(name, args=[thing.pk])
        assert admin.get(url).context["perms_lacking"] == set()
        assert admin.post(url, {"post": "yes"}).status_code == 302
    assert closed == ["ABC123"]
    assert not Participant.objects.exists()


def test_participants_are_not_deleted_outside_of_the_pages(rf: RequestFactory) -> None:
    request = rf.get("/")  # no page of the admin has been found for it
    request.user = User(is_staff=True, is_superuser=True)
    assert not site.get_model_admin(Participant).has_delete_permission(request)


END = "end_memberships"


def test_an_administrator_can_end_a_membership(
    admin: Client, room: Room, alice: User, bob: User, enter: Enter
) -> None:
    gone, lost = enter(alice).participant, enter(bob).participant
    services.leave(gone.peer_id)
    form = {"action": END, "_selected_action": [str(gone.pk), str(lost.pk)]}
    response = admin.post(PARTICIPANTS, form, follow=True)
    assert "1 membership ended." in response.text
    lost.refresh_from_db()
    gone.refresh_from_db()
    assert (lost.is_live, lost.reason, gone.reason) == (False, "removed", "left")


@pytest.mark.parametrize(
    ("codename", "may"), [("view_participant", False), ("change_participant", True)]
)
def test_ending_a_membership_requires_the_change_permission(
    client: Client, room: Room, alice: User, bob: User, enter: Enter, codename: str, may: bool
) -> None:
    peer = enter(alice).participant
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.add(Permission.objects.get(codename=codename))
    client.force_login(User.objects.get(pk=bob.pk))
    assert (END in client.get(PARTICIPANTS).text) == may
    client.post(PARTICIPANTS, {"action": END, "_selected_action": [str(peer.pk)]})
    peer.refresh_from_db()
    assert peer.is_live != may


def test_participants_that_are_away_can_be_filtered(
    admin: Client, room: Room, enter: Enter, alice: User, bob: User
) -> None:
    there, away = enter(alice, room).participant, enter(bob, room).participant
    until = timezone.now() + timedelta(seconds=30)
    Participant.objects.filter(pk=away.pk).update(away_until=until)
    assert shown(admin, PARTICIPANTS, live="away") == [away]
    assert set(shown(admin, PARTICIPANTS, live="yes")) == {there, away}


def test_workers_are_listed_with_their_participants_and_read_only(
    admin: Client, room: Room, enter: Enter, alice: User
) -> None:
    worker_id = leases.register_worker()
    enter(alice, room, worker_id=worker_id)
    (worker,) = shown(admin, reverse("admin:signalling_rooms_worker_changelist"))
    assert worker.live_count == 1
    assert admin.get(reverse("admin:signalling_rooms_worker_add")).status_code == 403
    for action in ("change", "delete"):
        page = reverse(f"admin:signalling_rooms_worker_{action}", args=[worker_id])
        assert admin.post(page, {"post": "yes"}).status_code == 403
