"""Publishing and receiving through Janus, with real media."""

from __future__ import annotations

import asyncio

import pytest

from signalling.sfu.base import InvalidDescription, SfuRoom
from signalling.sfu.janus import JanusSfu
from tests.integration.sfu.backend.conftest import CreatePeer, publishing_pair
from tests.integration.sfu.backend.media import wait_until


async def test_all_peers_receive_each_other(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    peers = [create_peer(f"peer_{name}") for name in "abc"]
    for peer in peers:
        await peer.open()
        await peer.publish()
    for peer in peers:
        for other in peers:
            if other is not peer:
                await peer.receive_frames(other.id, "video")
                await peer.receive_frames(other.id, "audio")
        assert (peer.id, "video") not in peer.received
        assert len(set(peer.connections)) == 1, "one receiving connection carries all peers"
    assert await sfu.peers(room) == {peer.id for peer in peers}


async def test_a_peer_that_leaves_is_removed_and_the_others_get_an_offer_without_its_sections(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob, carol = (create_peer(f"peer_{name}") for name in ("alice", "bob", "carol"))
    for peer in (alice, bob, carol):
        await peer.open()
        await peer.publish()
    await alice.receive_frames(carol.id)
    await alice.receive_frames(bob.id)
    carol.transports.close()
    async with asyncio.timeout(2):
        while carol.id in await sfu.peers(room):
            pass
    await alice.wait_until(lambda: {stream.peer_id for stream in alice.offers[-1]} == {bob.id})
    await alice.receive_frames(bob.id)


async def test_janus_carries_the_peers_whose_connection_is_up(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob = create_peer("peer_alice"), create_peer("peer_bob")
    await alice.open()
    await bob.open()
    assert await sfu.carried(room) == set()
    await bob.publish()
    async with asyncio.timeout(5):
        while await sfu.carried(room) != {bob.id}:
            pass
    await bob.close()
    async with asyncio.timeout(5):
        while await sfu.carried(room) != set():
            pass


async def test_a_receiving_connection_can_be_restarted(create_peer: CreatePeer) -> None:
    alice, bob = await publishing_pair(create_peer)
    await alice.receive_frames(bob.id)
    offers = len(alice.offers)
    await alice.transports.restart()
    await alice.wait_until(lambda: len(alice.offers) > offers)
    assert alice.offers[-1] == alice.offers[-2], "an offer that restarts ICE lists the same streams"
    assert alice.connections[-1] == alice.connections[-2]
    await alice.receive_frames(bob.id)


async def test_a_restart_repeats_an_offer_that_was_not_answered(create_peer: CreatePeer) -> None:
    alice, bob = create_peer("peer_alice"), create_peer("peer_bob")
    await bob.open()
    await bob.publish()
    offers: list[str] = []
    alice.on_offer = lambda offer, streams, connection: offers.append(offer["sdp"])  # type: ignore[method-assign]
    await alice.open()
    await alice.publish()
    await wait_until(lambda: len(offers) == 1)
    await alice.transports.restart()
    assert len(offers) == 2
    assert offers[0] == offers[1]


async def test_a_removed_peer_neither_sends_nor_receives(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await alice.receive_frames(bob.id)
    await bob.receive_frames(alice.id)
    await sfu.remove(room, bob.id, bob.claim)
    assert await sfu.peers(room) == {alice.id}
    await alice.wait_until(lambda: alice.offers[-1] == [])
    await sfu.remove(room, bob.id, None)


async def test_the_sections_of_a_kicked_peer_are_freed(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await alice.receive_frames(bob.id)
    await sfu.remove(room, bob.id, None)
    await alice.wait_until(lambda: alice.offers[-1] == [])


async def test_an_invalid_offer_is_refused(create_peer: CreatePeer) -> None:
    alice = create_peer("peer_alice")
    await alice.open()
    with pytest.raises(InvalidDescription):
        await alice.transports.publish({"type": "offer", "sdp": "v=0\r\n"})


async def test_a_peer_that_publishes_again_is_received_again(create_peer: CreatePeer) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    await alice.close_publisher()
    await alice.wait_until(lambda: alice.resets == 1)
    await bob.wait_until(lambda: bob.offers[-1] == [])
    await alice.publish()
    await bob.receive_frames(alice.id)


async def test_a_peer_that_does_not_publish_gets_no_offers(create_peer: CreatePeer) -> None:
    alice, bob, carol = (create_peer(f"peer_{name}") for name in ("alice", "bob", "carol"))
    for peer in (alice, bob):
        await peer.open()
    await alice.publish()
    await carol.open()
    await carol.publish()
    await carol.receive_frames(alice.id)
    assert bob.offers == []
    await bob.publish()
    await bob.receive_frames(carol.id)


async def test_an_offer_from_a_new_connection_replaces_the_old_connection(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    before = alice.claim
    await alice.publish()
    assert alice.claim != before
    await bob.receive_frames(alice.id)
    await alice.receive_frames(bob.id)
    assert await sfu.peers(room) == {alice.id, bob.id}
    assert alice.resets == 0
