import assert from "node:assert/strict";
import {test} from "node:test";
import {meshCap} from "../../signalling/static/signalling/mesh/bitrate.js";
import {flush} from "./fakes.mjs";
import {
  BOTH, capOf, connectMesh, enterMesh, enterRoom, entry, flip, paths, publisher, receive, room,
  stopClock,
} from "./room_fixture.mjs";

test("limits the mesh by its size, and to the minimum while both paths are in use", async (t) => {
  await enterMesh(t, "bob");
  assert.equal(capOf("bob"), 900_000);
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await flush();
  assert.equal(capOf("bob"), 500_000);
  await flip();
  assert.equal(capOf("bob"), 150_000);
  assert.equal(publisher().transceivers[1].sender.encodings[0].maxBitrate, undefined);
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  await receive("peer:left", {peerId: "dave", reason: "left"});
  assert.equal(capOf("bob"), 900_000);
});

test("applies the limit once an encoding has been negotiated", async (t) => {
  stopClock(t);
  await enterRoom({mode: "p2p", modeVersion: 1, peers: [entry("bob")]});
  const {sender} = room.peers.get("bob").pc.transceivers[1];
  sender.encodings = [];
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  sender.encodings = [{}];
  await connectMesh("bob");
  assert.equal(capOf("bob"), 500_000);
});

test("each mesh size has its limit, and larger meshes use the last one", () => {
  const caps = (others, isDoubled = false) => meshCap([900, 500, 150], others, isDoubled);
  assert.deepEqual([1, 2, 3, 4, 9].map((others) => caps(others)), [900, 500, 150, 150, 150]);
  assert.equal(caps(0), 900);
  assert.equal(caps(1, true), 150);
  assert.equal(meshCap([], 1, true), null);
});
