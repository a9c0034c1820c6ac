"""sfu.js by itself, against an SFU of connections in the same page: what no real one does on request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Enter
from tests.browser.person import Person, eventually

# Two clients and their SFU. As between a page and a server, a message takes a task, and keeps its order.
SFU = """async () => {
  const {ProxiedSfu} = await import("/static/signalling/sfu/proxied.js");
  const take = () => navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const clients = (window.clients = {});
  const mediaOf = () => ({audio: true, video: true});
  const play = (srcObject) => Object.assign(new Audio(), {srcObject, muted: true}).play();
  const later = (work) => new Promise((done) => setTimeout(() => done(work())));

  const add = async (id) => {
    const stream = await take();
    const media = {stream, audio: stream.getAudioTracks()[0], video: stream.getVideoTracks()[0]};
    const client = (clients[id] = {media, arrived: [], answers: [], number: 1, offers: 0});
    const send = (target, event, data) => later(() => client[target](event, structuredClone(data)));
    const restart = () => later(() => client.offer({iceRestart: true}));
    client.sfu = new ProxiedSfu({iceServers: [], media, send, restart, mediaOf});
    client.sfu.addEventListener("arrived", ({detail}) => client.arrived.push(detail));
    const say = (fromPeerId, event, data) => later(() => client.sfu.receive(event, {fromPeerId, ...data}));
    const sayCandidates = (pc, from) => (pc.onicecandidate = ({candidate}) =>
      say(from, "webrtc:ice", {candidate: candidate?.toJSON() ?? null}));

    client["sfu:publish"] = async (event, {offer, candidate}) => {
      const pc = (client.up ??= new RTCPeerConnection());
      // Chromium passes a sound on only if somebody plays it.
      pc.ontrack = ({track}) => play(new MediaStream([track]));
      if (event === "webrtc:ice") return pc.addIceCandidate(candidate);
      client.offers += 1;
      sayCandidates(pc, "sfu:publish");
      await pc.setRemoteDescription(offer);
      await pc.setLocalDescription();
      await say("sfu:publish", "webrtc:answer", {answer: pc.localDescription.toJSON()});
    };

    client.connect = () => {
      client.down = new RTCPeerConnection();
      sayCandidates(client.down, "sfu:subscribe");
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
      await say("sfu:subscribe", "webrtc:offer", client.last);
    };
    client.repeat = () => say("sfu:subscribe", "webrtc:offer", client.last);
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

# Each gets the other one.
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
    """Have two clients that are connected to their SFU and see and hear each other through it."""
    person = enter("alice")
    person.page.goto(person.demo.url)
    person.page.evaluate(SFU)
    eventually(lambda: both(person, "({sfu, up}) => sfu.publishing === 'connected' && up"))
    person.page.evaluate(CARRY)
    see_and_hear(person)
    return person


def see_and_hear(person: Person) -> None:
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


def test_each_receives_the_other_and_has_seen_them_arrive_before_anything_is_shown(
    person: Person,
) -> None:
    now = state(person)
    assert {id_: client["arrived"] for id_, client in now.items()} == {
        "alice": ["bob"],
        "bob": ["alice"],
    }
    assert all(client["isHealthy"] for client in now.values())
    assert person.page.locator("video").count() == 0


def test_a_camera_goes_off_and_on_without_any_negotiation(person: Person) -> None:
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
    see_and_hear(person)
    assert person.page.evaluate("() => clients.alice.offers") == 1
    assert state(person)["bob"]["answers"] == 1


def test_another_connection_takes_over_and_the_old_one_is_closed(person: Person) -> None:
    person.page.evaluate(
        "async () => {const {alice, bob} = clients; alice.number = 2; alice.connect();"
        " alice.carry('bob', bob); await alice.offer();}"
    )
    eventually(lambda: state(person)["alice"]["arrived"] == ["bob", "bob"])
    eventually(lambda: state(person)["alice"]["connections"] == 2)
    see_and_hear(person)
    numbers = "() => clients.alice.answers.map(({connection}) => connection)"
    assert person.page.evaluate(numbers) == [1, 2]


def test_the_ice_of_either_connection_is_restarted(person: Person) -> None:
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
    see_and_hear(person)


def test_an_offer_that_is_repeated_is_answered_again_and_changes_nothing(person: Person) -> None:
    person.page.evaluate("() => clients.alice.repeat()")
    eventually(lambda: state(person)["alice"]["answers"] == 2)
    assert person.page.evaluate(
        "() => new Set(clients.alice.answers.map((answer) => JSON.stringify(answer))).size === 1"
    )
    see_and_hear(person)


# A room of fifty: 49 others with two sections each, of the codecs and header extensions that Janus offers.
FIFTY = """async () => {
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


def test_the_answer_for_fifty_people_fits_into_a_frame_and_is_understood(person: Person) -> None:
    person.page.evaluate(FIFTY)
    eventually(lambda: state(person)["alice"]["answers"] == 2)
    sizes = person.page.evaluate(SIZES)
    frame = json.dumps({"event": "webrtc:answer", "data": sizes["answer"], "id": 100})
    assert sizes["local"] > 64 * 1024, "what the browser says itself would not fit"
    assert len(frame.encode()) < 60 * 1024
    assert person.page.evaluate("() => clients.alice.sfu.streams.size") == 49
    # Understood: both ends of the bundle are connected.
    eventually(
        lambda: person.page.evaluate("() => clients.alice.down.connectionState") == "connected"
    )
    assert person.page.evaluate(
        "() => clients.alice.down.getTransceivers().every((one) => one.currentDirection === 'sendonly')"
    )
