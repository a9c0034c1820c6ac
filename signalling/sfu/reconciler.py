"""Periodic work for rooms with an SFU: settles switches, reconciles the SFU, handles outages.

Every worker runs it. An SFU may contain rooms and peers that this site no longer has, because a
worker died or a request was lost, and it may have lost rooms that the site still uses.
"""

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
from signalling import database
from signalling.conf import conf
from signalling.transport.tasks import spawn

from .access import ClientAccess
from .base import Sfu, SfuError, SfuRoom
from .health import monitor
from .link import SfuLink, all_links
from .registry import get_sfus

logger = logging.getLogger("signalling")

INTERVAL_SECONDS = 2.0


async def run() -> None:
    """Reconcile periodically, and handle outages, until cancelled.

    Runs in every process of a site that has an SFU.
    """
    async with asyncio.TaskGroup() as tasks:
        for backend in get_sfus().values():
            backend.on_down = partial(_on_down, backend)
            backend.on_up = partial(_on_up, backend)
            if backend.needs_monitoring:
                tasks.create_task(
                    monitor(
                        backend.alias,
                        backend.probe,
                        on_down=backend.mark_down,
                        on_up=backend.mark_up,
                    )
                )
        tasks.create_task(_reconcile_periodically())


async def _reconcile_periodically() -> None:
    while True:
        try:
            await reconcile()
        except database.DATABASE_UNAVAILABLE as error:
            logger.warning("Database unavailable, SFU rooms not reconciled: %s", error)
        except Exception:
            logger.exception("Reconciling SFU rooms failed")
        await asyncio.sleep(INTERVAL_SECONDS)


async def reconcile() -> None:
    """Settle the switches that are due, then reconcile each SFU with the database."""
    await _record_carried_peers()
    await database.run_in_background_thread(switching.reconcile)(frozenset(get_sfus()))
    for backend in get_sfus().values():
        with _log_errors(backend):
            if backend.is_down:
                await _handle_outage(backend)
            else:
                await _reconcile_backend(backend)


async def _record_carried_peers() -> None:
    """Record which peers of switching rooms each SFU carries. The decisions rest on it."""
    switching_rooms = await database.run_in_background_thread(switching.find_switching)()
    # At the same time: an SFU that does not respond delays the decisions by one time-out only.
    await asyncio.gather(*(_record_carried_peers_of(room) for room in switching_rooms))


async def _record_carried_peers_of(room: Room) -> None:
    backend = get_sfus().get(room.sfu)
    if backend is None or backend.is_down:
        return
    with _log_errors(backend):
        carried = await backend.carried(SfuRoom.from_room(room))
        record = database.run_in_background_thread(switching.record_carried)
        await record(room.code, version=room.mode_version, peer_ids=carried)


async def _reconcile_backend(backend: Sfu) -> None:
    # The order matters for a room that is opened while this runs. It must not count as lost, so read
    # the links before asking the SFU; nor as unused, so ask the SFU before the database.
    opened = _open_client_access(backend)
    existing = await backend.rooms()
    await _close_unused_rooms(backend, existing)
    await _remove_orphans(backend)
    for room in opened.keys() - existing:
        for access in opened[room]:
            access.reopen()


async def _close_unused_rooms(backend: Sfu, existing: set[SfuRoom]) -> None:
    """Close the rooms in the SFU that it no longer serves.

    A room is closed once it is empty. Clients that connect to the SFU directly may stay in it or
    reconnect, so after two switch windows it is closed regardless.
    """
    served = (
        await database.run_in_background_thread(_served_by)(backend.alias) if existing else set()
    )
    since, now = backend.unused_since, monotonic()
    backend.unused_since = {room: since.get(room, now) for room in existing - served}
    for room, unused_since in backend.unused_since.items():
        is_overdue = now - unused_since > 2 * conf().switch_seconds
        if is_overdue or not await backend.peers(room):
            await backend.close_room(room)


async def _remove_orphans(backend: Sfu) -> None:
    """Remove peers from the SFU that have left the room.

    Their worker died before it could remove them, or their client reconnected with a token that the
    SFU still accepts.
    """
    rooms = {
        peer_id: room for room in _links_by_room(backend) for peer_id in await backend.peers(room)
    }
    if not rooms:
        return
    find_orphans = database.run_in_background_thread(switching.find_orphans)
    links = {link.membership.peer_id: link for link in all_links()}
    for peer_id, claim in (await find_orphans(rooms.keys())).items():
        if peer_id in links:  # its socket has not been notified yet
            links[peer_id].close()
        with _log_errors(backend):  # if one cannot be removed, go on with the others
            await backend.remove(rooms[peer_id], peer_id, claim)


@contextmanager
def _log_errors(backend: Sfu) -> Iterator[None]:
    try:
        yield
    except SfuError as error:
        logger.warning("SFU %r not reconciled: %s", backend.alias, error)


def _open_client_access(backend: Sfu) -> dict[SfuRoom, list[ClientAccess]]:
    """Return the client access by room, for rooms that have already been opened in the SFU."""
    rooms = {
        room: [link.access for link in links if link.access is not None]
        for room, links in _links_by_room(backend).items()
    }
    return {
        room: accesses
        for room, accesses in rooms.items()
        if accesses and not any(access.is_opening for access in accesses)
    }


def _served_by(alias: str) -> set[SfuRoom]:
    rooms = Room.objects.filter(mode=Room.Mode.SFU, sfu=alias)
    return {SfuRoom.from_room(room) for room in rooms}


def _links_by_room(backend: Sfu) -> dict[SfuRoom, list[SfuLink]]:
    by_room = defaultdict(list)
    for link in all_links():
        if link.mode.is_sfu and link.mode.sfu == backend.alias:
            by_room[link.room].append(link)
    return by_room


# --- Outages --------------------------------------------------------------------------------------

_outages: set[asyncio.Task[None]] = set()


def _on_down(backend: Sfu) -> None:
    spawn(_handle_outage(backend), _outages)


async def _handle_outage(backend: Sfu) -> None:
    """Turn rooms that are small enough into meshes, and notify the peers of the others.

    Each worker does this for its own peers.
    """
    for room, links in _links_by_room(backend).items():
        handle_loss = database.run_in_background_thread(switching.handle_sfu_loss)
        try:
            is_mesh = await handle_loss(links[0].membership.room_code, room.version)
        except (Room.DoesNotExist, *database.DATABASE_UNAVAILABLE) as error:
            logger.warning("%s keeps using an unavailable SFU: %r", room.id, error)
            is_mesh = False
        if not is_mesh:
            for link in links:
                link.on_sfu_down()


def _on_up(backend: Sfu) -> None:
    for links in _links_by_room(backend).values():
        for link in links:
            link.on_sfu_up()
