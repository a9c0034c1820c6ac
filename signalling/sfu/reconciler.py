"""What rooms with an SFU need although nobody asks: to decide switches, to tidy up, to notice its loss."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic

from rooms import switching
from rooms.models import Room
from signalling import database, sfu
from signalling.conf import conf
from signalling.transport.tasks import spawn

from .access import ClientAccess
from .base import Sfu, SfuError, SfuRoom
from .health import watch
from .link import SfuLink, all_links

logger = logging.getLogger("signalling")

EVERY_SECONDS = 2.0


async def keep_up() -> None:
    """Look after the rooms until cancelled. For processes whose site has an SFU."""
    async with asyncio.TaskGroup() as work:
        for backend in sfu.get_sfus().values():
            backend.on_down = partial(_spawn_loss, backend)
            backend.on_up = partial(_is_back, backend)
            if backend.is_watched:
                work.create_task(watch(backend))
        work.create_task(_keep_tending())


async def _keep_tending() -> None:
    while True:
        try:
            await tend()
        except database.DATABASE_UNAVAILABLE as error:
            logger.warning(
                "rooms with an SFU are not looked after, the database is away: %s", error
            )
        except Exception:
            logger.exception("the upkeep of rooms with an SFU failed")
        await asyncio.sleep(EVERY_SECONDS)


async def tend() -> None:
    """Do once what ``keep_up`` does all the time."""
    await database.run_in_background_thread(switching.reconcile)(frozenset(sfu.get_sfus()))
    for backend in sfu.get_sfus().values():
        with _as_far_as_possible(backend):
            if backend.is_down:
                await _lost(backend)
            else:
                await _tidy(backend)


async def _tidy(backend: Sfu) -> None:
    """The SFU is asked first: a room that is opened meanwhile is neither among its nor missed."""
    opened = _opened_for_clients(backend)
    there = await backend.rooms()
    await _close_forsaken(backend, there)
    await _remove_strangers(backend)
    for room in opened.keys() - there:
        for visit in opened[room]:
            visit.renew()


async def _close_forsaken(backend: Sfu, there: set[SfuRoom]) -> None:
    """Close the rooms that the SFU has and that it does not serve, once nobody is in them any more; or
    nobody should be: clients that reach it by themselves may stay, or come again."""
    served = await database.run_in_background_thread(_served_by)(backend.alias) if there else set()
    since, now = backend.unused_since, monotonic()
    backend.unused_since = {room: since.get(room, now) for room in there - served}
    for room, begun in backend.unused_since.items():
        is_over = now - begun > 2 * conf().switch_seconds
        if is_over or not await backend.peers(room):
            await backend.close_room(room)


async def _remove_strangers(backend: Sfu) -> None:
    """Cut off who is in the SFU's room and not in ours: its worker died before it could say so; or it has
    come again, where the SFU still lets it in."""
    where = {peer_id: room for room in _links_of(backend) for peer_id in await backend.peers(room)}
    if not where:
        return
    find = database.run_in_background_thread(switching.find_orphans)
    here = {link.membership.peer_id: link for link in all_links()}
    for stranger, claim in (await find(where.keys())).items():
        if stranger in here:  # its own socket has not heard of it yet
            here[stranger].end()
        with _as_far_as_possible(backend):  # one that cannot be cut off covers no other
            await backend.remove(where[stranger], stranger, claim)


@contextmanager
def _as_far_as_possible(backend: Sfu) -> Iterator[None]:
    try:
        yield
    except SfuError as error:
        logger.warning("the SFU %r is not tidied up: %s", backend.alias, error)


def _opened_for_clients(backend: Sfu) -> dict[SfuRoom, list[ClientAccess]]:
    """Return the visits of rooms that were there, in an SFU that clients reach by themselves."""
    rooms = {
        room: [link.visit for link in links if link.visit is not None]
        for room, links in _links_of(backend).items()
    }
    return {
        room: visits
        for room, visits in rooms.items()
        if visits and not any(visit.is_opening for visit in visits)
    }


def _served_by(alias: str) -> set[SfuRoom]:
    return {SfuRoom.of(room) for room in Room.objects.filter(mode=Room.Mode.SFU, sfu=alias)}


def _links_of(backend: Sfu) -> dict[SfuRoom, list[SfuLink]]:
    by_room = defaultdict(list)
    for link in all_links():
        if link.mode.is_sfu and link.mode.sfu == backend.alias:
            by_room[link.room].append(link)
    return by_room


# --- The loss of an SFU ---------------------------------------------------------------------------

_losses: set[asyncio.Task[None]] = set()


def _spawn_loss(backend: Sfu) -> None:
    spawn(_lost(backend), _losses)


async def _lost(backend: Sfu) -> None:
    """Make the rooms meshes that are small enough, and tell the others; each worker for its own peers."""
    for room, links in _links_of(backend).items():
        lose = database.run_in_background_thread(switching.handle_sfu_loss)
        try:
            is_mesh = await lose(links[0].membership.room_code, room.version)
        except (Room.DoesNotExist, *database.DATABASE_UNAVAILABLE) as error:
            logger.warning("%s stays with an SFU that is away: %r", room.id, error)
            is_mesh = False
        if not is_mesh:
            for link in links:
                link.was_lost()


def _is_back(backend: Sfu) -> None:
    for links in _links_of(backend).values():
        for link in links:
            link.is_back()
