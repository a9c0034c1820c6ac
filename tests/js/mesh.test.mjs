import assert from "node:assert/strict";
import {test} from "node:test";
import {FakeConnection} from "./fakes.mjs";
import {advance, enterMesh, enterRoom, receive, room, sent, stopClock} from "./room_fixture.mjs";

const userInfo = {username: "bob"};
const offer = {type: "offer", sdp: "theirs"};
const joins = (id) => receive("peer:joined", {peerId: id, userInfo, media: {}});
const leaves = (id) => receive("peer:left", {peerId: id, reason: "left"});

async function enterEmptyRoom(t) {
  stopClock(t);
  await enterRoom({mode: "p2p", modeVersion: 1, peers: []});
}

test("500 peers that join and leave make no connection", async (t) => {
  await enterEmptyRoom(t);
  for (let number = 0; number < 500; number += 1) {
    await joins(`peer-${number}`);
    await receive("webrtc:ice", {fromPeerId: `peer-${number}`, candidate: {candidate: "candidate:1"}});
    await receive("webrtc:answer", {fromPeerId: `peer-${number}`, answer: {type: "answer", sdp: "theirs"}});
    await leaves(`peer-${number}`);
  }
  await advance(t, 60_000);
  assert.equal(FakeConnection.all.length, 0);
  assert.equal(room.participants.size, 0);
});

test("an offer makes a connection, which is closed when the peer leaves", async (t) => {
  await enterEmptyRoom(t);
  await joins("bob");
  room.mesh.setIceServers([{urls: "stun:example.org"}]);
  room.mesh.cap(500);
  assert.equal(FakeConnection.all.length, 0);
  await receive("webrtc:offer", {fromPeerId: "bob", offer});
  const [pc] = FakeConnection.all;
  assert.deepEqual(pc.configuration, {iceServers: [{urls: "stun:example.org"}]});
  assert.equal(sent("webrtc:answer").length, 1);
  await leaves("bob");
  assert.equal(pc.closed, true);
  assert.equal(FakeConnection.all.length, 1);
});

test("a peer that sends no offer gets ours", async (t) => {
  await enterEmptyRoom(t);
  await joins("bob");
  await advance(t, 3_999);
  assert.equal(FakeConnection.all.length, 0);
  await advance(t, 1);
  assert.equal(FakeConnection.all.length, 1);
  assert.equal(FakeConnection.all[0].transceivers.length, 2);
});

for (const code of ["peer_busy", "unavailable"]) {
  test(`a description that got lost (${code}) is sent again, once`, async (t) => {
    await enterMesh(t, "bob");
    assert.equal(sent("webrtc:offer").length, 1);
    const lost = {code, message: "", targetPeerId: "bob", retryAfter: 1};
    for (let number = 0; number < 20; number += 1) await receive("error", lost);
    await receive("error", {...lost, targetPeerId: "nobody"});
    await advance(t, 1_000);
    assert.equal(sent("webrtc:offer").length, 2);
    await receive("error", lost);
    await leaves("bob");
    await advance(t, 60_000);
    assert.equal(sent("webrtc:offer").length, 2);
  });
}

test("a media state that the server refused is sent again", async (t) => {
  await enterEmptyRoom(t);
  const before = sent("peer:update").length;
  const refused = {code: "rate_limited", message: "", event: "peer:update", retryAfter: 2};
  for (let number = 0; number < 5; number += 1) await receive("error", refused);
  await advance(t, 2_000);
  assert.equal(sent("peer:update").length, before + 1);
});
