"""Relays and announcements: order, targets and payloads, with one worker and with two on Redis."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

OFFER = {"type": "offer", "sdp": "v=0\r\n"}
PAYLOADS: dict[str, dict[str, Any]] = {
    "webrtc:offer": {"offer": OFFER},
    "webrtc:answer": {"answer": {"type": "answer", "sdp": "v=0\r\n"}},
    "webrtc:ice": {"candidate": "candidate:1 1 UDP 2130706431 192.0.2.1 54321 typ host"},
}


@pytest.fixture(scope="module", params=["one worker", "two workers and Redis"])
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """A site with one or two workers; worker -1 is the last one."""
    two = request.param != "one worker"
    return make_site(workers=2, redis=True) if two else make_site()


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


@pytest.fixture
async def pair(
    site: Site, room: str
) -> AsyncIterator[tuple[SignallingCommunicator, SignallingCommunicator]]:
    """Alice and Bob in one room; both have received all announcements."""
    async with site.client("alice") as alice, site.client("bob", worker=-1) as bob:
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        yield alice, bob


# --- Order --------------------------------------------------------------------------------------


async def test_peer_joined_arrives_before_the_first_offer_of_the_new_peer(
    site: Site, room: str
) -> None:
    async with site.client("alice") as alice, site.client("bob", worker=-1) as bob:
        await alice.join(room)
        for _ in range(50):
            await bob.send("join:room", {"roomCode": room})
            joined = await bob.receive("room:joined")
            await bob.send("webrtc:offer", {"targetPeerId": alice.peer_id, "offer": OFFER})
            await bob.send("leave:room")
            assert (await alice.receive("peer:joined"))["peerId"] == joined["peerId"]
            assert (await alice.receive("webrtc:offer"))["fromPeerId"] == joined["peerId"]
            assert (await alice.receive("peer:left"))["peerId"] == joined["peerId"]
        await bob.receive_nothing()


async def test_concurrent_joins_announce_each_peer_exactly_once(site: Site) -> None:
    async with site.client("alice") as alice, site.client("bob", worker=-1) as bob:
        for _ in range(30):
            room = site.room()
            joined = await asyncio.gather(alice.join(room), bob.join(room))
            found_peers = [bool(answer["peers"]) for answer in joined]
            assert sorted(found_peers) == [False, True]
            first, second = (alice, bob) if found_peers[1] else (bob, alice)
            assert (await first.receive("peer:joined"))["peerId"] == second.peer_id
            await second.leave()
            assert (await first.receive("peer:left"))["peerId"] == second.peer_id
            await first.leave()


async def test_1000_relays_arrive_in_order_for_each_pair(site: Site, room: str) -> None:
    rng = random.Random(1)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(site.client(name, worker=index % -2))
            for index, name in enumerate(("alice", "bob", "carol"))
        ]
        alice, bob, carol = clients
        for number, client in enumerate(clients):
            await client.join(room)
            for earlier in clients[:number]:
                await earlier.receive("peer:joined")
        sent: dict[str, list[tuple[str, Any]]] = {bob.peer_id: [], carol.peer_id: []}
        for number in range(1000):
            event = rng.choice(list(PAYLOADS))
            target = rng.choice([bob, carol]).peer_id
            payload = _numbered(event, number)
            sent[target].append((event, payload))
            await alice.send(event, {"targetPeerId": target, **payload})
        for receiver in (bob, carol):
            for event, payload in sent[receiver.peer_id]:
                seen = await receiver.receive(event, within=20)
                assert payload.items() <= seen.items()
        await alice.receive_nothing()


def _numbered(event: str, number: int) -> dict[str, Any]:
    if event == "webrtc:ice":
        return {"candidate": f"candidate:{number}"}
    kind = event.removeprefix("webrtc:")
    return {kind: {"type": kind, "sdp": f"v=0 {number}"}}


# --- Boundaries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("event", PAYLOADS)
async def test_relays_never_cross_rooms(
    site: Site, pair: tuple[SignallingCommunicator, SignallingCommunicator], event: str
) -> None:
    alice, bob = pair
    async with (
        site.client("carol") as carol,
        site.client("dave", worker=-1) as dave,
        site.client("erin") as outsider,
    ):
        other_room = site.room()
        for client in (carol, dave):
            await client.join(other_room)
        await carol.receive("peer:joined")
        former_id = dave.peer_id
        await dave.leave()
        await carol.receive("peer:left")
        await dave.join(other_room)
        await carol.receive("peer:joined")

        channel = "specific.inmemory!abcdefghijkl"
        targets = [
            carol.peer_id,
            dave.peer_id,
            former_id,
            alice.peer_id,
            "",
            channel,
            "peer_unknown",
        ]
        texts: Counter[str] = Counter()
        for target in targets:
            with pytest.raises(RequestRefused) as refused:
                await alice.request(event, {"targetPeerId": target, **PAYLOADS[event]})
            assert refused.value.code == "peer_not_found"
            texts[json.dumps(refused.value.details)] += 1
        assert len(texts) == 1, "the answers differ, so rooms can be probed"

        with pytest.raises(RequestRefused) as refused:
            await outsider.request(event, {"targetPeerId": bob.peer_id, **PAYLOADS[event]})
        assert refused.value.code == "not_in_room"
        for client in (alice, bob, carol, dave, outsider):
            await client.receive_nothing()


async def test_nothing_reaches_a_peer_that_has_left(
    pair: tuple[SignallingCommunicator, SignallingCommunicator],
) -> None:
    alice, bob = pair
    await bob.leave()
    await alice.send("webrtc:offer", {"targetPeerId": bob.peer_id, "offer": OFFER})
    assert (await alice.receive("peer:left"))["peerId"] == bob.peer_id
    with pytest.raises(RequestRefused, match="peer_not_found"):
        await alice.request("webrtc:offer", {"targetPeerId": bob.peer_id, "offer": OFFER})
    await bob.receive_nothing()


async def test_announcements_never_cross_rooms(
    site: Site, pair: tuple[SignallingCommunicator, SignallingCommunicator]
) -> None:
    alice, bob = pair
    async with site.client("carol") as carol, site.client("dave", worker=-1) as dave:
        other_room = site.room()
        await carol.join(other_room)
        await dave.join(other_room)
        await dave.request("peer:update", {"media": {"audio": False}, "displayName": "Dave"})
        await dave.close()
        await alice.receive_nothing()
        await bob.receive_nothing()
        for event in ("peer:joined", "peer:updated", "peer:left"):
            assert (await carol.receive(event))["peerId"] == dave.peer_id


# --- Payloads -----------------------------------------------------------------------------------


async def test_a_spoofed_sender_is_overwritten(
    pair: tuple[SignallingCommunicator, SignallingCommunicator],
) -> None:
    alice, bob = pair
    for event, payload in PAYLOADS.items():
        spoofed = {"fromPeerId": bob.peer_id, "peerId": "peer_evil", "userInfo": {"username": "x"}}
        await alice.request(event, {"targetPeerId": bob.peer_id, **payload, **spoofed})
        assert await bob.receive(event) == {
            "targetPeerId": bob.peer_id,
            "fromPeerId": alice.peer_id,
            **payload,
        }


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param('"candidate:1 1 UDP 1 192.0.2.1 9 typ host"', id="text"),
        pytest.param('""', id="end of candidates"),
        pytest.param("null", id="null"),
        pytest.param(
            '{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"x",'
            '"futureKey":{"z":[1,2.50,1e2],"a":true}}',
            id="unknown keys, their order and the form of numbers",
        ),
        pytest.param('{"candidate" :  "\\u0041\\/b" , "sdpMid":null}', id="white space, escapes"),
        pytest.param('{"candidate":"ümläut 🎥","candidate":"twice"}', id="not ASCII, twice"),
    ],
)
async def test_a_candidate_is_relayed_byte_for_byte(
    pair: tuple[SignallingCommunicator, SignallingCommunicator], payload: str
) -> None:
    alice, bob = pair
    await alice.send_raw(
        f'{{"event":"webrtc:ice","data":{{"dropped":1,"targetPeerId":"{bob.peer_id}",'
        f'"candidate":{payload},"sdpMid":"dropped"}}}}'
    )
    await bob.receive("webrtc:ice")
    assert bob.last_frame == (
        f'{{"event":"webrtc:ice","data":{{"targetPeerId":"{bob.peer_id}",'
        f'"candidate":{payload},"fromPeerId":"{alice.peer_id}"}}}}'
    )


async def test_a_description_is_relayed_byte_for_byte(
    pair: tuple[SignallingCommunicator, SignallingCommunicator],
) -> None:
    alice, bob = pair
    for kind in ("offer", "answer"):
        description = f'{{ "sdp":"v=0\\r\\n\\u00e4","type":"{kind}","later":[null] }}'
        await alice.send_raw(
            f'{{"event":"webrtc:{kind}","data":{{"{kind}":{description},'
            f'"targetPeerId":"{bob.peer_id}"}}}}'
        )
        await bob.receive(f"webrtc:{kind}")
        assert description in bob.last_frame


async def test_a_binary_frame_is_relayed_like_a_text_frame(
    pair: tuple[SignallingCommunicator, SignallingCommunicator],
) -> None:
    alice, bob = pair
    data = {"targetPeerId": bob.peer_id, "candidate": "ü"}
    frame = json.dumps({"event": "webrtc:ice", "data": data}, ensure_ascii=False)
    await alice.send_raw(frame.encode())
    assert (await bob.receive("webrtc:ice"))["candidate"] == "ü"
