"""What rooms with an SFU need although nobody asks: to decide switches, to tidy up, to notice its loss."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from functools import partial

from rooms import modes
from rooms.models import Room
from signalling import database, sfu

from .base import Sfu, SfuError, SfuRoom
from .link import SfuLink

logger = logging.getLogger("signalling")

EVERY_SECONDS = 2.0


async def keep_up() -> None:
    """Look after the rooms until cancelled. For processes whose site has an SFU."""
    for backend in sfu.here().values():
        backend.went_down = partial(_spawn_loss, backend)
        backend.came_up = partial(_is_back, backend)
    while True:
        try:
            await tend()
        except database.AWAY as error:
            logger.warning(
                "rooms with an SFU are not looked after, the database is away: %s", error
            )
        except Exception:
            logger.exception("the upkeep of rooms with an SFU failed")
        await asyncio.sleep(EVERY_SECONDS)


async def tend() -> None:
    """Do once what ``keep_up`` does all the time."""
    await database.beside_the_sockets(modes.tend)()
    for backend in sfu.here().values():
        try:
            if backend.is_down:
                await _lost(backend)
            else:
                await _close_forsaken(backend)
                await _remove_strangers(backend)
        except SfuError as error:
            logger.warning("the SFU %r is not tidied up: %s", backend.alias, error)


async def _close_forsaken(backend: Sfu) -> None:
    """Close the rooms that the SFU has and that it does not serve, once nobody is in them any more.

    It is asked first: a room that is opened meanwhile is not among its.
    """
    there = await backend.rooms()
    if there:
        served = await database.beside_the_sockets(_served_by)(backend.alias)
        for room in there - served:
            if not await backend.peers(room):
                await backend.close_room(room)


async def _remove_strangers(backend: Sfu) -> None:
    """Cut off who is in the SFU's room and no longer in ours: its worker died before it could say so."""
    for room, links in _links_of(backend).items():
        there = await backend.peers(room)
        code = links[0].membership.room_code
        find = database.beside_the_sockets(modes.claims_of_those_who_left)
        for stranger, claim in (await find(code, there)).items():
            await backend.remove(room, stranger, claim)


def _served_by(alias: str) -> set[SfuRoom]:
    return {SfuRoom.of(room) for room in Room.objects.filter(mode=Room.Mode.SFU, sfu=alias)}


def _links_of(backend: Sfu) -> dict[SfuRoom, list[SfuLink]]:
    by_room = defaultdict(list)
    for link in sfu.here().links:
        if link.mode.is_sfu and link.mode.sfu == backend.alias:
            by_room[link.room].append(link)
    return by_room


# --- The loss of an SFU ---------------------------------------------------------------------------

_losses: set[asyncio.Task[None]] = set()


def _spawn_loss(backend: Sfu) -> None:
    loss = asyncio.create_task(_lost(backend))
    _losses.add(loss)
    loss.add_done_callback(_losses.discard)


async def _lost(backend: Sfu) -> None:
    """Make the rooms meshes that are small enough, and tell the others; each worker for its own peers."""
    for room, links in _links_of(backend).items():
        lose = database.beside_the_sockets(modes.lose_sfu)
        try:
            is_mesh = await lose(links[0].membership.room_code, room.version)
        except (Room.DoesNotExist, *database.AWAY) as error:
            logger.warning("%s stays with an SFU that is away: %r", room.id, error)
            is_mesh = False
        if not is_mesh:
            for link in links:
                link.was_lost()


def _is_back(backend: Sfu) -> None:
    for links in _links_of(backend).values():
        for link in links:
            link.is_back()
