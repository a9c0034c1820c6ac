"""A client that knows only the core events, in calls with our page and with another such client."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Enter
from tests.browser.person import Person, eventually

# Sends bare candidate lines, as in the gateway's example.
SIMPLE_CLIENT = """function call(url, roomCode, stream, offers = true) {
  const socket = new WebSocket(url), peers = {};
  const send = (event, data) => socket.send(JSON.stringify({event, data}));
  const connect = (targetPeerId) => {
    const pc = (peers[targetPeerId] = new RTCPeerConnection());
    stream.getTracks().forEach((track) => pc.addTrack(track, stream));
    pc.onicecandidate = ({candidate: found}) =>
      found && send("webrtc:ice", {targetPeerId, candidate: found.candidate});
    return pc;
  };
  const describe = async (type, id, pc) => {
    await pc.setLocalDescription(await (type === "offer" ? pc.createOffer() : pc.createAnswer()));
    send(`webrtc:${type}`, {targetPeerId: id, [type]: pc.localDescription});
  };
  const handlers = {
    "room:joined": ({peers}) => offers && peers.forEach(({id}) => describe("offer", id, connect(id))),
    "webrtc:offer": async ({fromPeerId: id, offer}) => {
      const pc = peers[id] ?? connect(id);
      await pc.setRemoteDescription(offer);
      await describe("answer", id, pc);
    },
    "webrtc:answer": ({fromPeerId, answer}) => peers[fromPeerId].setRemoteDescription(answer),
    "webrtc:ice": ({fromPeerId, candidate}) => peers[fromPeerId].addIceCandidate(
      typeof candidate === "string" ? {candidate, sdpMLineIndex: 0} : candidate),
  };
  socket.onopen = () => send("join:room", {roomCode});
  socket.onmessage = ({data: frame}) => {
    const {event, data} = JSON.parse(frame);
    handlers[event]?.(data);
  };
  return {socket, peers};
}"""

START = (
    "async ({url, roomCode, offers}) => {"
    f"  {SIMPLE_CLIENT}"
    "  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});"
    "  const {socket, peers} = call(url, roomCode, stream, offers);"
    "  window.peers = peers;"
    "  await new Promise((joined) => socket.addEventListener('message', joined, {once: true}));"
    "}"
)

RECEIVED = """async () => {
  const frames = [];
  for (const pc of Object.values(window.peers)) {
    const reports = [...(await pc.getStats()).values()];
    const inbound = (kind) => reports.find((r) => r.type === "inbound-rtp" && r.kind === kind);
    frames.push([inbound("video")?.framesDecoded ?? 0, inbound("audio")?.packetsReceived ?? 0]);
  }
  return frames;
}"""


def simple_client(person: Person, room: str, *, offers: bool) -> Person:
    person.page.goto(person.demo.url)
    person.page.evaluate(START, {"url": person.demo.socket_url, "roomCode": room, "offers": offers})
    return person


def has_media_from_all(person: Person, others: int) -> bool:
    received = person.page.evaluate(RECEIVED)
    return len(received) == others and all(min(counts) > 5 for counts in received)


def test_the_client_joins_our_page_and_sends_the_offer(room: str, enter: Enter) -> None:
    alice = enter("alice").join(room)
    bob = simple_client(enter("bob"), room, offers=True)
    alice.wait_for_media(1)
    eventually(lambda: has_media_from_all(bob, 1))
    expect(alice.tile("bob").locator("video")).to_be_visible()
    bob.page.close()
    expect(alice.tile("bob")).to_have_count(0)


@pytest.mark.parametrize("offers", [True, False])
def test_our_page_joins_the_client(room: str, enter: Enter, offers: bool) -> None:
    bob = simple_client(enter("bob"), room, offers=offers)
    alice = enter("alice").join(room)
    alice.wait_for_media(1)
    eventually(lambda: has_media_from_all(bob, 1))


def test_the_client_joins_our_page_and_waits_for_an_offer(room: str, enter: Enter) -> None:
    alice = enter("alice").join(room)
    bob = simple_client(enter("bob"), room, offers=False)
    alice.wait_for_media(1)
    eventually(lambda: has_media_from_all(bob, 1))


def test_two_such_clients_and_our_page(room: str, enter: Enter) -> None:
    first = simple_client(enter("bob"), room, offers=True)
    second = simple_client(enter("bob"), room, offers=True)
    eventually(lambda: has_media_from_all(first, 1))
    alice = enter("alice").join(room)
    alice.wait_for_media(2)
    eventually(lambda: has_media_from_all(first, 2))
    eventually(lambda: has_media_from_all(second, 2))
