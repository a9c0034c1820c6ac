"""A backend connected to a real Janus, and peers with real media."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from signalling.sfu.base import SfuRoom
from signalling.sfu.janus import JanusSfu
from tests.integration.sfu.backend.media import MediaPeer
from tests.integration.sfu.janus import Janus

CreatePeer = Callable[..., MediaPeer]
_versions = itertools.count(1)


@pytest.fixture
def room() -> SfuRoom:
    return SfuRoom("room_abc123", next(_versions), 12)


@pytest.fixture
async def sfu(janus: Janus) -> AsyncIterator[JanusSfu]:
    sfu = JanusSfu("default", janus.settings)
    yield sfu
    await sfu.close()


@pytest.fixture
async def create_peer(sfu: JanusSfu, room: SfuRoom) -> AsyncIterator[CreatePeer]:
    """Return a function that creates a peer. All peers and the room are closed afterwards."""
    peers: list[MediaPeer] = []

    def create_peer(peer_id: str, through: JanusSfu = sfu) -> MediaPeer:
        peers.append(MediaPeer(through, room, peer_id))
        return peers[-1]

    yield create_peer
    for peer in peers:
        peer.transports.close()
        await peer.close()
    await sfu.close_room(room)
    assert room not in await sfu.rooms()


async def publishing_pair(create_peer: CreatePeer) -> tuple[MediaPeer, MediaPeer]:
    """Create alice and bob in the room, publishing; return both."""
    pair = create_peer("peer_alice"), create_peer("peer_bob")
    for peer in pair:
        await peer.open()
        await peer.publish()
    return pair
