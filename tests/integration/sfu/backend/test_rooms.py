"""Rooms in Janus, its health checks, and its secrets."""

from __future__ import annotations

import asyncio

import pytest

from signalling.sfu.base import SfuRequestFailed, SfuRoom
from signalling.sfu.janus import JanusSfu
from signalling.sfu.janus.connection import DOWN_AFTER_SECONDS
from tests.integration.sfu.janus import Janus


async def test_a_running_janus_is_healthy(sfu: JanusSfu) -> None:
    assert await sfu.is_healthy()


async def test_rooms_are_private_and_can_be_opened_and_closed_repeatedly(
    sfu: JanusSfu, room: SfuRoom
) -> None:
    for _ in range(2):
        await sfu.open_room(room)
        assert room in await sfu.rooms()
    listed = await sfu.videoroom.request("list")
    assert sfu.videoroom.name(room) not in {found["room"] for found in listed["data"]["list"]}
    for _ in range(2):
        await sfu.close_room(room)
        assert room not in await sfu.rooms()


async def test_the_rooms_of_another_site_are_not_listed(
    sfu: JanusSfu, janus: Janus, room: SfuRoom
) -> None:
    await sfu.open_room(room)
    other = JanusSfu("default", janus.settings)
    other.videoroom.prefix = "another"
    assert await other.rooms() == set()
    await other.close()
    await sfu.close_room(room)


async def test_creating_a_room_requires_the_admin_key(janus: Janus, room: SfuRoom) -> None:
    sfu = JanusSfu("default", {**janus.settings, "ADMIN_KEY": "wrong"})
    with pytest.raises(SfuRequestFailed, match="433"):
        await sfu.open_room(room)
    await sfu.close()


async def test_a_wrong_api_secret_is_unhealthy(janus: Janus) -> None:
    sfu = JanusSfu("default", {**janus.settings, "API_SECRET": "wrong"})
    assert not await sfu.is_healthy()
    await sfu.close()


async def test_a_missing_janus_is_reported_as_unhealthy_immediately(
    janus: Janus,
) -> None:
    sfu = JanusSfu("default", {**janus.settings, "URL": "ws://127.0.0.1:1"})
    async with asyncio.timeout(DOWN_AFTER_SECONDS / 2):
        assert not await sfu.is_healthy()
    await sfu.close()
