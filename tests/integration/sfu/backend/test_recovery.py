"""Recovery from lost connections, lost sessions, and restarts of Janus."""

from __future__ import annotations

import pytest

from signalling.sfu.base import SfuRequestFailed, SfuRoom, SfuUnavailable
from signalling.sfu.janus import JanusSfu
from tests.integration.sfu.backend.conftest import CreatePeer, publishing_pair
from tests.integration.sfu.backend.media import MediaPeer, wait_until
from tests.integration.sfu.janus import Janus


async def test_another_worker_claims_the_connections_and_media_continues(
    sfu: JanusSfu, janus: Janus, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    survivor = JanusSfu("default", janus.settings)
    resumed = create_peer("peer_alice", survivor)
    alice.transports.release()
    await resumed.open(alice.claim)
    assert resumed.claim == alice.claim
    assert resumed.resets == 0, "alice still publishes on the same connection"
    await bob.receive_frames(alice.id, more=10)
    await resumed.receive_frames(bob.id)
    assert resumed.connections[-1] != alice.connections[-1]
    resumed.transports.close()
    await survivor.close()


async def test_an_outdated_claim_is_not_an_error(create_peer: CreatePeer) -> None:
    alice = create_peer("peer_alice")
    await alice.open({"session": 1, "publisher": 2})
    assert alice.claim["session"] != 1


async def test_a_lost_connection_to_janus_is_reopened_and_media_continues(
    sfu: JanusSfu, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    before = bob.connections[-1]
    assert sfu.connection._socket is not None
    sfu.connection._socket.transport.abort()
    await bob.wait_until(lambda: bob.connections[-1] != before)
    await bob.receive_frames(alice.id)
    assert not sfu.is_down
    assert alice.resets == bob.resets == 0


async def test_all_peers_are_reset_after_a_restart_of_janus(
    sfu: JanusSfu, janus: Janus, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    calls: list[str] = []
    sfu.on_down = lambda: calls.append("down")
    sfu.on_up = lambda: calls.append("up")

    janus.kill()
    await wait_until(lambda: sfu.is_down)
    with pytest.raises(SfuUnavailable):
        await alice.transports.publish({"type": "offer", "sdp": "v=0\r\n"})
    janus.start()
    await wait_until(lambda: not sfu.is_down)
    assert calls == ["down", "up"]
    for peer in (alice, bob):
        await peer.wait_until(lambda peer=peer: peer.resets == 1)
        await peer.publish()
    await bob.receive_frames(alice.id)
    await alice.receive_frames(bob.id)


async def test_closing_a_replaced_receiving_connection_does_not_affect_the_new_one(
    sfu: JanusSfu, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    first = bob.connections[-1]
    assert sfu.connection._socket is not None
    sfu.connection._socket.transport.abort()
    await bob.wait_until(lambda: bob.connections[-1] != first)
    await bob.receive_frames(alice.id)
    second = bob.connections[-1]
    await bob.close_subscription(first)
    await bob.receive_frames(alice.id, more=30)
    assert bob.connections[-1] == second


async def test_a_failed_attempt_to_enter_leaves_no_session(janus: Janus, room: SfuRoom) -> None:
    sfu = JanusSfu("default", {**janus.settings, "ADMIN_KEY": "wrong"})
    alice = MediaPeer(sfu, room, "peer_alice")
    for _ in range(3):
        with pytest.raises(SfuRequestFailed, match="433"):
            await alice.open()
    (only,) = sfu.connection.sessions.values()
    assert only is sfu.videoroom.handle.session if sfu.videoroom.handle else False
    await sfu.close()
    assert not sfu.connection.sessions


async def test_a_session_that_ended_silently_is_noticed_when_it_is_used(
    sfu: JanusSfu, janus: Janus, create_peer: CreatePeer
) -> None:
    alice = create_peer("peer_alice")
    await alice.open()
    other = JanusSfu("default", janus.settings)
    await other.probe()
    for session in (
        alice.claim["session"],
        sfu.videoroom.handle.session.id if sfu.videoroom.handle else 0,
    ):
        await other.connection.request({"janus": "destroy", "session_id": session})
    with pytest.raises(SfuRequestFailed, match="458"):
        await alice.publish()
    await alice.wait_until(lambda: alice.resets == 1)
    await alice.publish()
    await sfu.probe()
    await other.close()


async def test_a_peer_that_was_kicked_by_mistake_enters_again(
    sfu: JanusSfu, room: SfuRoom, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    await sfu.remove(room, alice.id, None)
    await alice.wait_until(lambda: alice.resets == 1)
    await alice.publish()
    await bob.receive_frames(alice.id)


async def test_a_peer_survives_an_offer_from_a_new_connection_while_janus_is_unavailable(
    sfu: JanusSfu, janus: Janus, create_peer: CreatePeer
) -> None:
    alice, bob = await publishing_pair(create_peer)
    await bob.receive_frames(alice.id)
    janus.kill()
    await wait_until(lambda: sfu.is_down)
    with pytest.raises(SfuUnavailable):
        await alice.publish()
    janus.start()
    for peer in (alice, bob):
        await peer.wait_until(lambda peer=peer: peer.resets == 1)
        await peer.publish()
    await bob.receive_frames(alice.id)
