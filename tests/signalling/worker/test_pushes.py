"""Which changes are pushed to the workers, in how many messages, and what an outage costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import AsyncMock, call

import pytest
from channels.layers import get_channel_layer
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.deletion import Collector
from django.db.models.signals import m2m_changed, post_save

from rooms.models import Participant
from signalling.worker import pushes

from .clock import StoppedClock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    push = AsyncMock()
    monkeypatch.setattr(pushes, "push", push)
    return push


def test_other_models_keep_their_fast_deletes() -> None:
    assert Collector(using="default").can_fast_delete(Session.objects.all())
    assert not post_save.has_listeners(Participant)
    assert not m2m_changed.has_listeners(Participant)


@pytest.mark.parametrize(
    ("fields", "count"), [(None, 1), (["is_staff"], 1), (["first_name", "last_login"], 0)]
)
async def test_only_a_user_that_may_have_other_rights_is_pushed(
    bob: User, fields: list[str] | None, count: int, push: AsyncMock
) -> None:
    await User.objects.acreate_user("carol")
    await bob.asave(update_fields=fields)
    assert push.await_args_list == [call([str(bob.pk)])] * count


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A proxy of the user model, as another app may have one."""
    meta = type("Meta", (), {"proxy": True, "app_label": "signalling_rooms"})
    proxy: Any = type("Proxy", (User,), {"__module__": __name__, "Meta": meta})
    yield proxy
    apps.all_models["signalling_rooms"].pop("proxy")
    apps.clear_cache()


def test_a_user_that_is_saved_through_a_proxy_is_pushed(
    bob: User, push: AsyncMock, proxy: Any
) -> None:
    assert {User, proxy} <= {*pushes.user_models()}
    pushes.connect()  # again, and so without an effect on the others
    proxy.objects.get(pk=bob.pk).save()
    bob.save()
    assert push.await_args_list == [call([str(bob.pk)])] * 2


def test_a_transaction_is_one_message(alice: User, bob: User, push: AsyncMock) -> None:
    with transaction.atomic():
        for _ in range(3):
            alice.save()
        with transaction.atomic():
            bob.save()
        push.assert_not_awaited()
    assert push.await_args_list == [call(sorted([str(alice.pk), str(bob.pk)]))]


def test_a_rolled_back_savepoint_hides_no_other_change(
    alice: User, bob: User, push: AsyncMock
) -> None:
    with transaction.atomic():
        savepoint = transaction.savepoint()
        bob.save()
        transaction.savepoint_rollback(savepoint)
        alice.save()
    (message,) = push.await_args_list
    assert str(alice.pk) in message.args[0]
    alice.delete()
    assert len(push.await_args_list) == 2


def test_a_rolled_back_transaction_is_forgotten(alice: User, bob: User, push: AsyncMock) -> None:
    with transaction.atomic():
        bob.save()
        transaction.set_rollback(True)
    alice.save()
    assert push.await_args_list == [call([str(alice.pk)])]


def test_many_users_are_not_named(
    alice: User, bob: User, push: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushes, "MAX_USERS", 1)
    with transaction.atomic():
        for user in (alice, bob, alice):
            user.save()
    assert push.await_args_list == [call([])]


def test_a_group_concerns_all_users(bob: User, push: AsyncMock) -> None:
    group = Group.objects.create(name="callers")
    permission = Permission.objects.create(
        codename="call", content_type_id=Permission.objects.all()[0].content_type_id
    )
    group.permissions.add(permission)
    permission.delete()
    group.delete()
    assert push.await_args_list == [call([])] * 3


async def test_an_outage_costs_one_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = StoppedClock(monkeypatch, pushes)
    monkeypatch.setattr(pushes._Outage, "ends_at", 0.0)
    pushes._failure.reset()
    send = AsyncMock(side_effect=ConnectionError("unavailable"))
    monkeypatch.setattr(get_channel_layer(), "group_send", send)
    for _ in range(5):
        await pushes.push(["1"])
    assert send.await_count == len(caplog.records) == 1
    await pushes.push(["1"], signed_out="digest")  # no sweep finds this for a signed cookie
    assert send.await_count == 2
    clock.now += pushes.PAUSE_SECONDS
    await pushes.push(["1"])
    assert send.await_count == 3
