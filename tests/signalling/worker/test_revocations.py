"""Sockets whose user or credential loses its rights: at a push, at a sweep, and at an act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import Group, Permission, User
from django.db import OperationalError
from pytest_django import Settings

from rooms.models import Participant, Room
from signalling.auth import revocation, tokens
from signalling.auth.identity import Identity
from signalling.worker import process, revocations
from signalling.worker.pushes import GROUP
from tests.conftest import access_token
from tests.patience import PATIENCE
from tests.signalling.sockets import connected, in_room, open_socket
from tests.signalling.worker.revoking import assert_closed, change, deactivate, set_password, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_pause")]


# --- Push -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (set_password, "token_revoked"),
        (deactivate, "user_inactive"),
        (User.delete, "token_invalid"),
    ],
)
async def test_a_change_of_the_user_closes_the_socket(
    bob: User, act: Callable[[User], object], code: str
) -> None:
    socket = await open_socket(bob)
    await change(act, bob)
    await assert_closed(socket, code)


@pytest.mark.parametrize("is_resumable", [False, True])
async def test_the_membership_of_a_closed_socket_ends_for_all(
    room: Room, alice: User, bob: User, is_resumable: bool
) -> None:
    async with in_room(alice) as (first,):
        socket = await open_socket(bob)
        joined = await socket.join(resumable=is_resumable)
        await first.receive("peer:joined")
        await change(set_password, bob)
        left = await first.receive("peer:left")
        assert left == {"peerId": socket.peer_id, "reason": "disconnected"}
        await assert_closed(socket, "token_revoked")
        if is_resumable:
            again = {"roomCode": "ABC123", "resumable": True, "resumeToken": joined["resumeToken"]}
            async with connected(bob) as later:  # with the new password
                answer = await later.request("join:room", again)
                assert answer["data"]["code"] == "resume_expired"
        await first.receive_nothing()


async def test_a_peer_without_a_socket_ends_too(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,):
        socket = await open_socket(bob)
        await socket.join(resumable=True)
        await first.receive("peer:joined")
        await socket.disconnect(1006)
        await first.receive("peer:away")
        await change(set_password, bob)
        assert (await first.receive("peer:left"))["peerId"] == socket.peer_id
        assert not process.get_worker().detached
        assert not await Participant.objects.live().filter(user=bob).aexists()


@pytest.mark.parametrize("fields", [["last_login"], ["first_name"]])
async def test_other_changes_of_a_user_close_nothing(bob: User, fields: list[str]) -> None:
    async with connected(bob) as socket:
        bob.first_name = "Robert"
        await bob.asave(update_fields=fields)
        await sweep()
        await asyncio.sleep(0.2)  # longer than the pause before the check
        await socket.receive_nothing()


async def test_a_peer_without_a_socket_ends_with_the_token_that_it_had_last(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,):
        socket = await open_socket(bob)
        await socket.join(resumable=True)
        await first.receive("peer:joined")
        await User.objects.filter(pk=bob.pk).aupdate(password="new")
        fresh = access_token(await User.objects.aget(pk=bob.pk))
        await socket.request("authenticate", {"token": fresh})
        await socket.disconnect(1006)
        await first.receive("peer:away")
        await sweep()
        await asyncio.sleep(0.2)
        await first.receive_nothing()
        await User.objects.filter(pk=bob.pk).aupdate(password="newer")
        await sweep()
        assert (await first.receive("peer:left"))["peerId"] == socket.peer_id


async def test_missed_messages_make_all_users_suspect(bob: User, room: Room) -> None:
    socket = await open_socket(bob)
    await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
    process.get_worker().revocations.deliver({"type": "channel.missed"})
    await assert_closed(socket, "user_inactive")


async def test_a_worker_subscribes_while_it_has_sockets(alice: User, bob: User) -> None:
    groups = get_channel_layer().groups
    for _ in range(2):
        async with connected(alice), connected(bob):
            assert len(groups[GROUP]) == 1
        async with asyncio.timeout(PATIENCE):
            while GROUP in groups:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_push_reaches_this_user_only(alice: User, bob: User) -> None:
    async with connected(alice) as other:
        socket = await open_socket(bob)
        await change(set_password, bob)
        await assert_closed(socket, "token_revoked")
        await other.receive_nothing()


async def test_a_socket_that_authenticates_again_keeps_its_place(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.join()
        await User.objects.filter(pk=bob.pk).aupdate(password="another hash")
        fresh = access_token(await User.objects.aget(pk=bob.pk))
        assert (await socket.request("authenticate", {"token": fresh}))["event"] == "authenticated"
        await sweep()
        await asyncio.sleep(0.2)
        await socket.receive_nothing()


# --- Permissions ------------------------------------------------------------------------------


@pytest.fixture
def callers(settings: Settings, bob: User) -> Group:
    """A group whose members may join rooms. Bob is a member."""
    settings.SIGNALLING = {
        **settings.SIGNALLING,
        "CAN_JOIN": "tests.rooms.hooks.callers_only",
        "CAN_STAY": "tests.rooms.hooks.callers_only",
    }
    group = Group.objects.create(name="callers")
    group.permissions.add(Permission.objects.get(codename="view_room"))
    group.user_set.add(bob)
    return group


def leave_group(bob: User, group: Group) -> None:
    bob.groups.remove(group)


def empty_group(bob: User, group: Group) -> None:
    group.user_set.clear()


def restrict_group(bob: User, group: Group) -> None:
    group.permissions.clear()


def delete_group(bob: User, group: Group) -> None:
    group.delete()


@pytest.mark.parametrize("is_resumable", [False, True])
@pytest.mark.parametrize("act", [leave_group, empty_group, restrict_group, delete_group])
async def test_a_user_without_the_permission_has_to_leave_the_room(
    room: Room, bob: User, callers: Group, act: Callable[[User, Group], None], is_resumable: bool
) -> None:
    host = await User.objects.acreate_superuser("root")
    async with in_room(host) as (first,):
        socket = await open_socket(bob)
        await socket.join(resumable=is_resumable)
        await first.receive("peer:joined")
        await change(act, bob, callers)
        assert await first.receive("peer:left") == {"peerId": socket.peer_id, "reason": "removed"}
        await assert_closed(socket, "forbidden", 4403)


async def test_a_permission_that_was_given_directly_counts_too(
    room: Room, bob: User, callers: Group
) -> None:
    permission = await Permission.objects.aget(codename="view_room")
    await change(bob.user_permissions.add, permission)
    socket = await open_socket(bob)
    await socket.join()
    await change(leave_group, bob, callers)
    await asyncio.sleep(0.2)
    await socket.receive_nothing()
    await change(bob.user_permissions.remove, permission)
    await assert_closed(socket, "forbidden", 4403)


async def test_a_bug_in_can_stay_closes_nothing(
    room: Room, bob: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        settings.SIGNALLING = {"CAN_STAY": "tests.rooms.hooks.explode"}
        await change(bob.groups.add, await Group.objects.acreate(name="any"))
        await asyncio.sleep(0.2)
        await socket.receive_nothing()
    assert "Could not check an identity" in caplog.text


# --- Sweep ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "code"),
    [({"is_active": False}, "user_inactive"), ({"password": "other"}, "token_revoked")],
)
async def test_an_update_without_a_signal_is_swept(
    bob: User, columns: dict[str, Any], code: str
) -> None:
    socket = await open_socket(bob)
    await User.objects.filter(pk=bob.pk).aupdate(**columns)
    await process.get_worker().heartbeat()
    await assert_closed(socket, code)


async def test_a_sweep_is_one_query_for_all_users(
    alice: User, bob: User, django_assert_num_queries: Any
) -> None:
    def find() -> dict[Any, int | None]:
        known = {user.pk: revocation.fingerprint(user) for user in (alice, bob)}
        with django_assert_num_queries(1):
            return revocation.find_changed(known)

    assert await change(find) == {}
    await User.objects.filter(pk=bob.pk).aupdate(is_staff=True)
    assert set(await change(find)) == {bob.pk}


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of identities of each check."""
    counts: list[int] = []
    original = revocation.check_all

    def check_all(held: Any) -> Any:
        counts.append(len(held))
        return original(held)

    monkeypatch.setattr(revocation, "check_all", check_all)
    return counts


async def test_a_change_is_checked_once(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_checks(monkeypatch)
    async with connected(bob), connected(bob) as socket:
        await User.objects.filter(pk=bob.pk).aupdate(is_staff=True)
        for _ in range(3):
            await sweep()
            await asyncio.sleep(0.2)
        await socket.receive_nothing()
    assert counts == [2]


async def test_a_user_whose_columns_were_not_read_is_checked_once(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_checks(monkeypatch)
    async with connected(bob) as socket:
        (holder,) = process.get_worker().sockets
        deferred = await User.objects.only("username").aget(pk=bob.pk)
        setattr(holder, "identity", Identity(user=deferred))  # noqa: B010 (a read-only protocol)
        for _ in range(3):
            await sweep()
            await asyncio.sleep(0.2)
        await socket.receive_nothing()
    assert counts == [1]


async def test_an_identity_from_before_a_change_is_swept_although_it_comes_later(
    bob: User,
) -> None:
    before = await change(tokens.authenticate, access_token(bob))
    await User.objects.filter(pk=bob.pk).aupdate(password="new")
    fresh = await User.objects.aget(pk=bob.pk)
    async with connected(fresh) as first:
        await sweep()
        others = {*process.get_worker().sockets}
        socket = await open_socket(fresh)
        (late,) = process.get_worker().sockets - others
        setattr(late, "identity", before)  # noqa: B010 (a read-only protocol)
        await sweep()
        await assert_closed(socket, "token_revoked")
        await first.receive_nothing()


async def test_a_token_that_is_presented_during_a_check_is_not_revoked_by_it(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(bob) as socket:
        (holder,) = process.get_worker().sockets
        original = revocation.check_all

        def check_all(held: Any) -> Any:
            User.objects.filter(pk=bob.pk).update(password="new")
            errors = original(held)
            fresh = User.objects.get(pk=bob.pk)
            setattr(holder, "identity", Identity(user=fresh))  # noqa: B010 (a read-only protocol)
            return errors

        monkeypatch.setattr(revocation, "check_all", check_all)
        process.get_worker().revocations.recheck(str(bob.pk))
        await asyncio.sleep(0.2)
        await socket.receive_nothing()


async def test_a_check_that_fails_is_repeated(
    bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(bob) as socket:
        worker = process.get_worker().revocations
        monkeypatch.setattr(worker, "_retry_seconds", 0.05)
        original, attempts = revocation.read_user, []

        def fail_once(identity: Any) -> Any:
            attempts.append(identity)
            if len(attempts) == 1:
                raise OperationalError("the database is unavailable")
            return original(identity)

        monkeypatch.setattr(revocation, "read_user", fail_once)
        await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
        await sweep()
        await assert_closed(socket, "user_inactive")
    assert len(attempts) == 2


async def test_too_many_suspects_are_all_users(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_SUSPECTS", 3)
    socket = await open_socket(bob)
    await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
    worker = process.get_worker().revocations
    for number in range(10):
        worker.deliver({"type": "signalling.identity", "users": [f"x{number}"]})
        assert len(worker._suspects) <= 3
    await assert_closed(socket, "user_inactive")


@pytest.mark.parametrize(
    "message",
    [{}, {"type": "signalling.identity"}, {"type": "other", "users": ["1"]}, {"type": 1}],
)
async def test_other_messages_to_the_worker_are_ignored(bob: User, message: dict[str, Any]) -> None:
    async with connected(bob) as socket:
        process.get_worker().revocations.deliver(message)
        await socket.receive_nothing()


# --- Acts -------------------------------------------------------------------------------------


async def test_a_demoted_staff_user_fails_the_next_staff_check(room: Room, bob: User) -> None:
    await User.objects.filter(pk=bob.pk).aupdate(is_staff=True)
    async with connected(await User.objects.aget(pk=bob.pk)) as socket:
        await socket.join()
        assert (await socket.request("room:mode", {"mode": "p2p"}))["event"] == "ack"
        await User.objects.filter(pk=bob.pk).aupdate(is_staff=False)
        answer = await socket.request("room:mode", {"mode": "p2p"})
        assert answer["data"]["code"] == "forbidden"


@pytest.mark.parametrize("event", ["join:room", "room:mode"])
async def test_an_act_of_a_revoked_identity_is_refused_and_closes(
    room: Room, alice: User, event: str
) -> None:
    socket = await open_socket(alice)
    if event == "room:mode":
        await socket.join()
    await User.objects.filter(pk=alice.pk).aupdate(password="other")
    answer = await socket.request(event, {"roomCode": "ABC123", "mode": "p2p"})
    assert answer["data"]["code"] == "token_revoked"
    assert await socket.receive_close() == 4401
    await socket.disconnect(1006)
    assert not await Participant.objects.live().aexists()
