"""The Janus backend against a real Janus, with real media: what ``signalling.sfu.base`` promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from signalling.sfu.base import InvalidDescription, SfuRequestFailed, SfuRoom, SfuUnavailable
from signalling.sfu.janus import JanusSfu
from signalling.sfu.janus.connection import DOWN_AFTER_SECONDS
from tests.integration.sfu.janus import Janus
from tests.integration.sfu.media import MediaPeer

Enter = Callable[..., MediaPeer]
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
async def enter(sfu: JanusSfu, room: SfuRoom) -> AsyncIterator[Enter]:
    """Return a function that makes a peer of the room; all are gone afterwards, and the room as well."""
    peers: list[MediaPeer] = []

    def enter(peer_id: str, through: JanusSfu = sfu) -> MediaPeer:
        peers.append(MediaPeer(through, room, peer_id))
        return peers[-1]

    yield enter
    for peer in peers:
        peer.transports.close()
        await peer.ends()
    await sfu.close_room(room)
    assert room not in await sfu.rooms()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110  (of what another process does)
            await asyncio.sleep(0.02)


# --- Rooms ----------------------------------------------------------------------------------------


async def test_it_is_healthy(sfu: JanusSfu) -> None:
    assert await sfu.is_healthy()


async def test_rooms_are_private_and_are_opened_and_closed_as_often_as_one_likes(
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


async def test_the_rooms_of_another_site_are_not_ours(
    sfu: JanusSfu, janus: Janus, room: SfuRoom
) -> None:
    await sfu.open_room(room)
    other = JanusSfu("default", janus.settings)
    other.videoroom.prefix = "another"
    assert await other.rooms() == set()
    await other.close()
    await sfu.close_room(room)


async def test_without_the_admin_key_no_room_can_be_made(janus: Janus, room: SfuRoom) -> None:
    sfu = JanusSfu("default", {**janus.settings, "ADMIN_KEY": "wrong"})
    with pytest.raises(SfuRequestFailed, match="433"):
        await sfu.open_room(room)
    await sfu.close()


async def test_without_the_api_secret_it_is_not_healthy(janus: Janus) -> None:
    sfu = JanusSfu("default", {**janus.settings, "API_SECRET": "wrong"})
    assert not await sfu.is_healthy()
    await sfu.close()


# --- Media ----------------------------------------------------------------------------------------


async def test_everybody_receives_everybody(sfu: JanusSfu, room: SfuRoom, enter: Enter) -> None:
    peers = [enter(f"peer_{name}") for name in "abc"]
    for peer in peers:
        await peer.enters()
        await peer.publishes()
    for peer in peers:
        for other in peers:
            if other is not peer:
                await peer.receives(other.id, "video")
                await peer.receives(other.id, "audio")
        assert (peer.id, "video") not in peer.received
        assert len(set(peer.connections)) == 1, "one receiving connection carries everybody"
    assert await sfu.peers(room) == {peer.id for peer in peers}


async def test_who_leaves_is_gone_at_once_and_the_others_are_told_which_sections_are_free(
    sfu: JanusSfu, room: SfuRoom, enter: Enter
) -> None:
    alice, bob, carol = (enter(f"peer_{name}") for name in ("alice", "bob", "carol"))
    for peer in (alice, bob, carol):
        await peer.enters()
        await peer.publishes()
    await alice.receives(carol.id)
    await alice.receives(bob.id)
    carol.transports.close()
    async with asyncio.timeout(2):
        while carol.id in await sfu.peers(room):
            pass
    await alice.receive(lambda: {stream.peer_id for stream in alice.offers[-1]} == {bob.id})
    await alice.receives(bob.id)


async def test_the_receiving_connection_is_restarted(enter: Enter) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await alice.receives(bob.id)
    offers = len(alice.offers)
    await alice.transports.restart()
    await alice.receive(lambda: len(alice.offers) > offers)
    assert alice.offers[-1] == alice.offers[-2], (
        "an offer that restarts says whose its sections are"
    )
    assert alice.connections[-1] == alice.connections[-2]
    await alice.receives(bob.id)


async def test_an_offer_that_nobody_has_answered_is_said_again(enter: Enter) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    await bob.enters()
    await bob.publishes()
    said: list[str] = []
    alice.on_offer = lambda offer, streams, connection: said.append(offer["sdp"])  # type: ignore[method-assign]
    await alice.enters()
    await alice.publishes()
    await until(lambda: len(said) == 1)
    await alice.transports.restart()
    assert len(said) == 2
    assert said[0] == said[1]


async def test_who_is_removed_is_cut_off_both_ways(
    sfu: JanusSfu, room: SfuRoom, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await alice.receives(bob.id)
    await bob.receives(alice.id)
    await sfu.remove(room, bob.id, bob.claim)
    assert await sfu.peers(room) == {alice.id}
    await alice.receive(lambda: alice.offers[-1] == [])
    await sfu.remove(room, bob.id, None)


async def test_the_sections_of_one_who_was_kicked_are_free_as_well(
    sfu: JanusSfu, room: SfuRoom, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await alice.receives(bob.id)
    await sfu.remove(room, bob.id, None)
    await alice.receive(lambda: alice.offers[-1] == [])


async def test_an_offer_that_makes_no_sense_is_refused(enter: Enter) -> None:
    alice = enter("peer_alice")
    await alice.enters()
    with pytest.raises(InvalidDescription):
        await alice.transports.publish({"type": "offer", "sdp": "v=0\r\n"})


# --- Losses ---------------------------------------------------------------------------------------


async def test_another_worker_claims_what_a_peer_has_and_media_go_on(
    sfu: JanusSfu, janus: Janus, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    survivor = JanusSfu("default", janus.settings)
    resumed = enter("peer_alice", survivor)
    alice.transports.release()
    await resumed.enters(alice.claim)
    assert resumed.claim == alice.claim
    assert resumed.resets == 0, "what alice publishes goes on as it is"
    await bob.receives(alice.id, more=10)
    await resumed.receives(bob.id)
    assert resumed.connections[-1] != alice.connections[-1]
    resumed.transports.close()
    await survivor.close()


async def test_a_claim_that_is_worth_nothing_any_more_is_no_error(enter: Enter) -> None:
    alice = enter("peer_alice")
    await alice.enters({"session": 1, "publisher": 2})
    assert alice.claim["session"] != 1


async def test_a_connection_that_breaks_is_opened_again_and_media_go_on(
    sfu: JanusSfu, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    before = bob.connections[-1]
    assert sfu.connection._socket is not None
    sfu.connection._socket.transport.abort()
    await bob.receive(lambda: bob.connections[-1] != before)
    await bob.receives(alice.id)
    assert not sfu.is_down
    assert alice.resets == bob.resets == 0


async def test_a_janus_that_is_started_anew_gets_everything_anew(
    sfu: JanusSfu, janus: Janus, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    news: list[str] = []
    sfu.on_down = lambda: news.append("down")
    sfu.on_up = lambda: news.append("up")

    janus.is_killed()
    await until(lambda: sfu.is_down)
    with pytest.raises(SfuUnavailable):
        await alice.transports.publish({"type": "offer", "sdp": "v=0\r\n"})
    janus.start()
    await until(lambda: not sfu.is_down)
    assert news == ["down", "up"]
    for peer in (alice, bob):
        await peer.receive(lambda peer=peer: peer.resets == 1)
        await peer.publishes()
    await bob.receives(alice.id)
    await alice.receives(bob.id)


async def test_a_janus_that_was_never_there_is_not_healthy_and_says_so_at_once(
    janus: Janus,
) -> None:
    sfu = JanusSfu("default", {**janus.settings, "URL": "ws://127.0.0.1:1"})
    async with asyncio.timeout(DOWN_AFTER_SECONDS / 2):
        assert not await sfu.is_healthy()
    await sfu.close()


# --- What has gone wrong once ---------------------------------------------------------------------


async def test_who_publishes_again_is_received_again(enter: Enter) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    await alice.hangs_up()
    await alice.receive(lambda: alice.resets == 1)
    await bob.receive(lambda: bob.offers[-1] == [])
    await alice.publishes()
    await bob.receives(alice.id)


async def test_the_end_of_a_receiving_connection_that_was_replaced_does_not_touch_the_next(
    sfu: JanusSfu, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    first = bob.connections[-1]
    assert sfu.connection._socket is not None
    sfu.connection._socket.transport.abort()
    await bob.receive(lambda: bob.connections[-1] != first)
    await bob.receives(alice.id)
    second = bob.connections[-1]
    await bob.close(first)
    await bob.receives(alice.id, more=30)
    assert bob.connections[-1] == second


async def test_an_attempt_to_enter_that_fails_leaves_no_session(
    janus: Janus, room: SfuRoom
) -> None:
    sfu = JanusSfu("default", {**janus.settings, "ADMIN_KEY": "wrong"})
    alice = MediaPeer(sfu, room, "peer_alice")
    for _ in range(3):
        with pytest.raises(SfuRequestFailed, match="433"):
            await alice.enters()
    (only,) = sfu.connection.sessions.values()
    assert only is sfu.videoroom.handle.session if sfu.videoroom.handle else False
    await sfu.close()
    assert not sfu.connection.sessions


async def test_a_session_that_has_ended_without_a_word_is_noticed_when_it_is_used(
    sfu: JanusSfu, janus: Janus, enter: Enter
) -> None:
    alice = enter("peer_alice")
    await alice.enters()
    other = JanusSfu("default", janus.settings)
    await other.probe()
    for session in (
        alice.claim["session"],
        sfu.videoroom.handle.session.id if sfu.videoroom.handle else 0,
    ):
        await other.connection.request({"janus": "destroy", "session_id": session})
    with pytest.raises(SfuRequestFailed, match="458"):
        await alice.publishes()
    await alice.receive(lambda: alice.resets == 1)
    await alice.publishes()
    await sfu.probe()
    await other.close()


async def test_who_is_kicked_while_it_is_in_the_room_enters_again(
    sfu: JanusSfu, room: SfuRoom, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    await sfu.remove(room, alice.id, None)
    await alice.receive(lambda: alice.resets == 1)
    await alice.publishes()
    await bob.receives(alice.id)


async def test_who_does_not_publish_is_offered_nothing(enter: Enter) -> None:
    alice, bob, carol = (enter(f"peer_{name}") for name in ("alice", "bob", "carol"))
    for peer in (alice, bob):
        await peer.enters()
    await alice.publishes()
    await carol.enters()
    await carol.publishes()
    await carol.receives(alice.id)
    assert bob.offers == []
    await bob.publishes()
    await bob.receives(carol.id)


async def test_an_offer_of_another_connection_takes_the_place_of_the_one_before(
    sfu: JanusSfu, room: SfuRoom, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    before = alice.claim
    await alice.publishes()
    assert alice.claim != before
    await bob.receives(alice.id)
    await alice.receives(bob.id)
    assert await sfu.peers(room) == {alice.id, bob.id}
    assert alice.resets == 0


async def test_an_offer_of_another_connection_while_janus_is_away_is_no_end(
    sfu: JanusSfu, janus: Janus, enter: Enter
) -> None:
    alice, bob = enter("peer_alice"), enter("peer_bob")
    for peer in (alice, bob):
        await peer.enters()
        await peer.publishes()
    await bob.receives(alice.id)
    janus.is_killed()
    await until(lambda: sfu.is_down)
    with pytest.raises(SfuUnavailable):
        await alice.publishes()
    janus.start()
    for peer in (alice, bob):
        await peer.receive(lambda peer=peer: peer.resets == 1)
        await peer.publishes()
    await bob.receives(alice.id)
