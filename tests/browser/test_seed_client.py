"""A client that knows nothing but the seed's eight events calls with our page, and with its own kind."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import Enter
from .person import Person, eventually

# What README.md shows. It sends bare candidate lines, as the seed's example does.
SEED_CLIENT = """async ({url, roomCode, offers}) => {
  const socket = new WebSocket(url);
  const peers = (window.peers = {});
  const send = (event, data) => socket.send(JSON.stringify({event, data}));
  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const connect = (targetPeerId) => {
    const pc = (peers[targetPeerId] = new RTCPeerConnection());
    stream.getTracks().forEach((track) => pc.addTrack(track, stream));
    pc.onicecandidate = ({candidate}) => {
      if (candidate) send("webrtc:ice", {targetPeerId, candidate: candidate.candidate});
    };
    return pc;
  };
  const describe = async (pc, type, targetPeerId) => {
    await pc.setLocalDescription(type === "offer" ? await pc.createOffer() : await pc.createAnswer());
    send(`webrtc:${type}`, {targetPeerId, [type]: pc.localDescription});
  };
  const handlers = {
    "room:joined": (room) => {
      if (offers) for (const {id} of room.peers) describe(connect(id), "offer", id);
    },
    "webrtc:offer": async ({fromPeerId: id, offer}) => {
      const pc = peers[id] ?? connect(id);
      await pc.setRemoteDescription(offer);
      await describe(pc, "answer", id);
    },
    "webrtc:answer": ({fromPeerId, answer}) => peers[fromPeerId].setRemoteDescription(answer),
    "webrtc:ice": ({fromPeerId, candidate}) => peers[fromPeerId].addIceCandidate(
      typeof candidate === "string" ? {candidate, sdpMLineIndex: 0} : candidate),
  };
  socket.onmessage = ({data}) => {
    const {event, data: payload} = JSON.parse(data);
    handlers[event]?.(payload);
  };
  await new Promise((resolve) => (socket.onopen = resolve));
  send("join:room", {roomCode});
}"""

RECEIVED = """async () => {
  const frames = [];
  for (const pc of Object.values(window.peers)) {
    const reports = [...(await pc.getStats()).values()];
    const inbound = (kind) => reports.find((r) => r.type === "inbound-rtp" && r.kind === kind);
    frames.push([inbound("video")?.framesDecoded ?? 0, inbound("audio")?.packetsReceived ?? 0]);
  }
  return frames;
}"""


def seed_client(person: Person, room: str, *, offers: bool) -> Person:
    person.page.goto(person.demo.url)
    person.page.evaluate(
        SEED_CLIENT, {"url": person.demo.socket_url, "roomCode": room, "offers": offers}
    )
    return person


def has_media_from_all(person: Person, others: int) -> bool:
    received = person.page.evaluate(RECEIVED)
    return len(received) == others and all(min(counts) > 5 for counts in received)


def test_it_joins_our_page_and_offers(room: str, enter: Enter) -> None:
    alice = enter("alice").join(room)
    bob = seed_client(enter("bob"), room, offers=True)
    alice.sees_and_hears(1)
    eventually(lambda: has_media_from_all(bob, 1))
    expect(alice.tile("bob").locator("video")).to_be_visible()
    bob.page.close()
    expect(alice.tile("bob")).to_have_count(0)


@pytest.mark.parametrize("offers", [True, False])
def test_our_page_joins_it(room: str, enter: Enter, offers: bool) -> None:
    bob = seed_client(enter("bob"), room, offers=offers)
    alice = enter("alice").join(room)
    alice.sees_and_hears(1)
    eventually(lambda: has_media_from_all(bob, 1))


def test_it_joins_our_page_and_waits_for_an_offer(room: str, enter: Enter) -> None:
    alice = enter("alice").join(room)
    bob = seed_client(enter("bob"), room, offers=False)
    alice.sees_and_hears(1)
    eventually(lambda: has_media_from_all(bob, 1))


def test_two_of_its_kind_and_our_page(room: str, enter: Enter) -> None:
    first = seed_client(enter("bob"), room, offers=True)
    second = seed_client(enter("bob"), room, offers=True)
    eventually(lambda: has_media_from_all(first, 1))
    alice = enter("alice").join(room)
    alice.sees_and_hears(2)
    for client in (first, second):
        eventually(lambda client=client: has_media_from_all(client, 2))  # type: ignore[misc]
