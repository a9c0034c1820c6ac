"""sfu/proxied.js alone, against an SFU made of connections in the same page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Enter
from tests.browser.person import Person, eventually

# Two clients and their SFU. As on a network, each message takes a task, and messages keep their order.
SFU = """async () => {
  const {ProxiedSfu} = await import("/static/signalling/sfu/proxied.js");
  const openDevices = () => navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const clients = (window.clients = {});
  const mediaOf = () => ({audio: true, video: true});
  const play = (srcObject) => Object.assign(new Audio(), {srcObject, muted: true}).play();
  const later = (work) => new Promise((done) => setTimeout(() => done(work())));

  const add = async (id) => {
    const stream = await openDevices();
    const media = {stream, audio: stream.getAudioTracks()[0], video: stream.getVideoTracks()[0]};
    const client = (clients[id] = {media, arrived: [], answers: [], number: 1, offers: 0});
    const send = (target, event, data) => later(() => client[target](event, structuredClone(data)));
    const restart = () => later(() => client.offer({iceRestart: true}));
    client.sfu = new ProxiedSfu({iceServers: [], media, send, restart, mediaOf});
    client.sfu.addEventListener("arrived", ({detail}) => client.arrived.push(detail));
    const deliver = (fromPeerId, event, data) =>
      later(() => client.sfu.receive(event, {fromPeerId, ...data}));
    const deliverCandidates = (pc, from) => (pc.onicecandidate = ({candidate}) =>
      deliver(from, "webrtc:ice", {candidate: candidate?.toJSON() ?? null}));

    client["sfu:publish"] = async (event, {offer, candidate}) => {
      const pc = (client.up ??= new RTCPeerConnection());
      // Chromium forwards audio only while it is played.
      pc.ontrack = ({track}) => play(new MediaStream([track]));
      if (event === "webrtc:ice") return pc.addIceCandidate(candidate);
      client.offers += 1;
      deliverCandidates(pc, "sfu:publish");
      await pc.setRemoteDescription(offer);
      await pc.setLocalDescription();
      await deliver("sfu:publish", "webrtc:answer", {answer: pc.localDescription.toJSON()});
    };

    client.connect = () => {
      client.down = new RTCPeerConnection();
      deliverCandidates(client.down, "sfu:subscribe");
      client.owners = []; // of each transceiver
    };
    client.carry = (peerId, {up}) => {
      for (const {track} of up.getReceivers())
        client.owners.push([client.down.addTransceiver(track, {direction: "sendonly"}), peerId]);
    };
    client.offer = async (options) => {
      const pc = client.down;
      await pc.setLocalDescription(await pc.createOffer(options));
      const kindOf = ({receiver}) => receiver.track.kind;
      const streams = client.owners.map(([sent, peerId]) => ({mid: sent.mid, peerId, kind: kindOf(sent)}));
      client.last = {offer: pc.localDescription.toJSON(), streams, connection: client.number};
      await deliver("sfu:subscribe", "webrtc:offer", client.last);
    };
    client.repeat = () => deliver("sfu:subscribe", "webrtc:offer", client.last);
    client["sfu:subscribe"] = async (event, data) => {
      if (event === "webrtc:ice") return client.down.addIceCandidate(data.candidate);
      client.answers.push(data);
      const isOpen = client.down.signalingState === "have-local-offer";
      if (isOpen) await client.down.setRemoteDescription(data.answer);
    };
    client.sfu.start();
  };
  await Promise.all([add("alice"), add("bob")]);
}"""

# Each client receives the other one.
CARRY = """async () => {
  for (const [id, other] of [["alice", "bob"], ["bob", "alice"]]) {
    const client = window.clients[id];
    client.connect();
    client.carry(other, window.clients[other]);
    await client.offer();
  }
}"""

STATE = """async () => {
  const state = {};
  for (const [id, {sfu, arrived, answers, media}] of Object.entries(window.clients)) {
    const streams = {};
    for (const [peer, stream] of sfu.streams) {
      streams[peer] = {};
      for (const pc of sfu.connections.filter(({connectionState}) => connectionState !== "closed"))
        for (const report of (await pc.getStats()).values()) {
          const track = stream.getTracks().find(({id}) => id === report.trackIdentifier);
          if (track && report.type === "inbound-rtp")
            streams[peer][track.kind] = report.framesDecoded ?? report.packetsReceived;
        }
    }
    const {isHealthy, connections} = sfu;
    state[id] = {isHealthy, arrived, streams, connections: connections.length, answers: answers.length};
  }
  return state;
}"""

OTHER = {"alice": "bob", "bob": "alice"}


def state(person: Person) -> dict[str, Any]:
    found: dict[str, Any] = person.page.evaluate(STATE)
    return found


def both(person: Person, check: str) -> bool:
    return bool(person.page.evaluate(f"() => Object.values(window.clients).every({check})"))


@pytest.fixture
def person(enter: Enter) -> Person:
    """Two clients that receive each other through their SFU."""
    person = enter("alice")
    person.page.goto(person.demo.url)
    person.page.evaluate(SFU)
    eventually(lambda: both(person, "({sfu, up}) => sfu.publishing === 'connected' && up"))
    person.page.evaluate(CARRY)
    wait_for_media(person)
    return person


def wait_for_media(person: Person) -> None:
    before = state(person)

    def more() -> bool:
        now = state(person)
        return all(
            now[id_]["streams"].get(other, {}).get(kind, 0)
            >= before[id_]["streams"].get(other, {}).get(kind, 0) + 5
            for id_, other in OTHER.items()
            for kind in ("audio", "video")
        )

    eventually(more)


def test_media_arrival_is_detected_before_anything_is_shown(
    person: Person,
) -> None:
    def arrived() -> dict[str, list[str]]:
        return {id_: client["arrived"] for id_, client in state(person).items()}

    eventually(lambda: arrived() == {"alice": ["bob"], "bob": ["alice"]})  # polled every 2 s
    assert all(client["isHealthy"] for client in state(person).values())
    assert person.page.locator("video").count() == 0


def test_camera_off_and_on_without_negotiation(person: Person) -> None:
    person.page.evaluate(
        "async () => {const {media, sfu} = clients.alice; window.camera = media.video;"
        " media.video = null; await sfu.replaceTrack('video');}"
    )
    seen: list[int] = []

    def is_still() -> bool:
        seen.append(state(person)["bob"]["streams"]["alice"]["video"])
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    eventually(is_still)
    person.page.evaluate(
        "async () => {const {media, sfu} = clients.alice;"
        " media.video = window.camera; await sfu.replaceTrack('video');}"
    )
    wait_for_media(person)
    assert person.page.evaluate("() => clients.alice.offers") == 1
    assert state(person)["bob"]["answers"] == 1


def test_another_connection_replaces_the_previous_one(person: Person) -> None:
    person.page.evaluate(
        "async () => {const {alice, bob} = clients; alice.number = 2; alice.connect();"
        " alice.carry('bob', bob); await alice.offer();}"
    )
    eventually(lambda: state(person)["alice"]["arrived"] == ["bob", "bob"])
    eventually(lambda: state(person)["alice"]["connections"] == 2)
    wait_for_media(person)
    numbers = "() => clients.alice.answers.map(({connection}) => connection)"
    assert person.page.evaluate(numbers) == [1, 2]


def test_ice_restart_of_both_connections(person: Person) -> None:
    ufrags = (
        "() => clients.alice.sfu.connections.map("
        "({remoteDescription: {sdp}}) => sdp.match(/ice-ufrag:(.*)/)[1])"
    )
    before = person.page.evaluate(ufrags)
    person.page.evaluate(
        "async () => {const {alice} = clients; alice.sfu.publisher.restart(); alice.sfu.options.restart();}"
    )

    def are_others() -> bool:
        return all(
            now != then for now, then in zip(person.page.evaluate(ufrags), before, strict=True)
        )

    eventually(are_others)
    wait_for_media(person)


def test_a_repeated_offer_is_answered_again_without_changes(person: Person) -> None:
    person.page.evaluate("() => clients.alice.repeat()")
    eventually(lambda: state(person)["alice"]["answers"] == 2)
    assert person.page.evaluate(
        "() => new Set(clients.alice.answers.map((answer) => JSON.stringify(answer))).size === 1"
    )
    wait_for_media(person)


# A room of 50: 49 others with two sections each, with the codecs and header extensions of Janus.
FIFTY_PEERS = """async () => {
  const {alice} = window.clients;
  const codecs = {audio: /opus/i, video: /VP8/i};
  const extensions =
    /sdes:mid|ssrc-audio-level|transport-wide-cc|abs-send-time|video-orientation|playout-delay/;
  alice.number = 2;
  alice.connect();
  for (let number = 0; number < 49; number += 1)
    for (const kind of ["audio", "video"]) {
      const transceiver = alice.down.addTransceiver(kind, {direction: "sendonly"});
      const known = RTCRtpReceiver.getCapabilities(kind).codecs;
      transceiver.setCodecPreferences(known.filter(({mimeType}) => codecs[kind].test(mimeType)));
      const offered = transceiver.getHeaderExtensionsToNegotiate();
      for (const extension of offered)
        extension.direction = extensions.test(extension.uri) ? "sendrecv" : "stopped";
      transceiver.setHeaderExtensionsToNegotiate(offered);
      alice.owners.push([transceiver, `peer_${number}`]);
    }
  await alice.offer();
}"""

SIZES = """() => {
  const {alice} = window.clients;
  const bytes = (text) => new TextEncoder().encode(text).length;
  return {local: bytes(alice.sfu.connections[1].localDescription.sdp), answer: alice.answers.at(-1)};
}"""


def test_the_answer_for_50_peers_fits_into_a_frame(person: Person) -> None:
    person.page.evaluate(FIFTY_PEERS)
    eventually(lambda: state(person)["alice"]["answers"] == 2)
    sizes = person.page.evaluate(SIZES)
    frame = json.dumps({"event": "webrtc:answer", "data": sizes["answer"], "id": 100})
    assert sizes["local"] > 64 * 1024, "the description of the browser would not fit"
    assert len(frame.encode()) < 60 * 1024
    assert person.page.evaluate("() => clients.alice.sfu.streams.size") == 49
    # The answer is valid: both ends of the bundle connect.
    eventually(
        lambda: person.page.evaluate("() => clients.alice.down.connectionState") == "connected"
    )
    assert person.page.evaluate(
        "() => clients.alice.down.getTransceivers().every((one) => one.currentDirection === 'sendonly')"
    )
