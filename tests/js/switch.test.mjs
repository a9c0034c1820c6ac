import assert from "node:assert/strict";
import {test} from "node:test";
import {sdpOf} from "./fakes.mjs";
import {
  BOTH, SFU, advance, carryOnSfu, client, commit, connectMesh, enterMesh, enterRoom, enterSfu,
  entry, flip, participant, paths, publish, publisher, receive, reports, room, sent, stopClock,
  subscription, switchToSfu,
} from "./room_fixture.mjs";

test("a newcomer to a room in SFU mode publishes to the SFU and sends no other offers", async (t) => {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 1, sfu: SFU, peers: [entry("bob"), entry("carol")]});
  await publisher().onnegotiationneeded();
  assert.equal(room.peers.size, 0);
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await advance(t, 10_000);
  assert.equal(room.peers.size, 0, "nor to later newcomers");
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu", dave: "sfu"});
  assert.equal(participant("bob").state, "connecting");
});

test("shows each peer from the SFU once its media has arrived there, and keeps the mesh", async (t) => {
  await enterMesh(t, "bob", "carol");
  const mesh = participant("carol").stream;
  await flip();
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  await carryOnSfu(t, "bob");
  assert.deepEqual(paths(), {bob: "sfu", carol: "mesh"});
  assert.equal(participant("bob").stream, room.sfu.streams.get("bob"));
  assert.equal(participant("carol").stream, mesh);
  assert.deepEqual([...room.peers.keys()], ["bob", "carol"]);
});

test("a track from the SFU without media does not replace the mesh", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  const streams = [{mid: "v-bob", peerId: "bob", kind: "video"}];
  await receive("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp: sdpOf("v-bob")}, streams, connection: 1});
  subscription().setState("connected");
  await advance(t, 200);
  await advance(t, 3_000);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("an SFU that is faster than the first poll of the mesh does not replace it without media", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  const streams = [{mid: "v-bob", peerId: "bob", kind: "video"}];
  await receive("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp: sdpOf("v-bob")}, streams, connection: 1});
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("shows peers from the mesh while the SFU is interrupted", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  await carryOnSfu(t, "bob");
  subscription().setState("disconnected");
  assert.deepEqual(paths(), {bob: "mesh"});
  subscription().setState("connected");
  assert.deepEqual(paths(), {bob: "sfu"});
});

test("reports once that we receive everyone, when we are connected and all media has arrived", async (t) => {
  await enterMesh(t, "bob", "carol");
  await flip();
  await carryOnSfu(t, "bob", "carol");
  assert.deepEqual(reports(), [], "our own connection is not up yet");
  await publish();
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
  await advance(t, 20_000);
  await commit();
  assert.equal(reports().length, 1);
});

test("waits 5 s after our connection for media that does not arrive", async (t) => {
  await enterMesh(t, "bob", "carol");
  await flip();
  await carryOnSfu(t, "bob");
  await publish();
  await advance(t, 4_999);
  assert.deepEqual(reports(), []);
  await advance(t, 1);
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
});

test("does not wait for a peer that leaves", async (t) => {
  await enterMesh(t, "bob", "carol");
  await flip();
  await carryOnSfu(t, "bob");
  await publish();
  await receive("peer:left", {peerId: "carol", reason: "left"});
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
});

test("reports a failure after 10 s without a connection, and a later success", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  await advance(t, 9_999);
  assert.deepEqual(reports(), []);
  await advance(t, 1);
  assert.deepEqual(reports(), [{version: 2, state: "failed"}]);
  await carryOnSfu(t, "bob");
  await publish();
  assert.deepEqual(reports().map(({state}) => state), ["failed", "receiving"]);
});

test("reports a failure for an unknown SFU provider", async (t) => {
  await enterMesh(t, "bob");
  await receive("room:mode", {mode: "sfu", version: 2, switching: true, reason: "room_grew", sfu: {provider: "unknown"}});
  await advance(t, 10_000);
  assert.deepEqual(reports(), [{version: 2, state: "failed"}]);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test('accepts "janus", the provider name of earlier servers', async (t) => {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 1, sfu: {provider: "janus"}, peers: []});
  await publisher().onnegotiationneeded();
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
});

test("reports no failure unless the room is switching", async (t) => {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 2, sfu: SFU, peers: []});
  await advance(t, 10_000);
  assert.deepEqual(reports(), []);
});

test("closes the mesh connections of peers that have reported once the switch is committed", async (t) => {
  await switchToSfu(t);
  const {pc} = room.peers.get("bob");
  await receive("peer:updated", {peerId: "bob", path: "sfu"});
  assert.equal(room.peers.size, 2, "it may still be rolled back");
  await commit();
  assert.equal(pc.closed, true);
  assert.deepEqual([...room.peers.keys()], ["carol"], "carol may still need it");
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"});
  await receive("peer:updated", {peerId: "carol", path: "sfu"});
  assert.equal(room.peers.size, 0);
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"});
});

test("keeps the mesh connection of a peer until we receive it from the SFU", async (t) => {
  await enterMesh(t, "bob", "carol");
  await flip();
  await publish();
  await carryOnSfu(t, "bob");
  await advance(t, 5_000);
  for (const peerId of ["bob", "carol"]) await receive("peer:updated", {peerId, path: "sfu"});
  await commit();
  assert.deepEqual([...room.peers.keys()], ["carol"]);
  await carryOnSfu(t, "bob", "carol");
  assert.equal(room.peers.size, 0);
});

test("a commit before our report closes no mesh connection: others still need it", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  await carryOnSfu(t, "bob");
  await receive("peer:updated", {peerId: "bob", path: "sfu"});
  await commit();
  assert.deepEqual([...room.peers.keys()], ["bob"]);
  await publish();
  assert.equal(room.peers.size, 0);
});

test("a rollback keeps the working mesh connections", async (t) => {
  await switchToSfu(t);
  const {pc} = room.peers.get("bob");
  const connections = [...room.sfu.connections];
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("bob").pc, pc);
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  assert.equal(room.sfu, null);
  assert.ok(connections.every(({closed}) => closed));
  assert.notEqual(pc.closed, true);
});

test("after a rollback, a peer that joined during the switch sends the offer", async (t) => {
  await switchToSfu(t);
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  assert.equal(room.peers.has("dave"), false);
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("dave").polite, false);
  assert.equal(room.peers.get("dave").isIdle, true);
});

test("after a rollback, we send the offer if we joined during the switch", async (t) => {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 2, switching: true, sfu: SFU, peers: [entry("bob")]});
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("bob").polite, true);
  assert.equal(room.peers.get("bob").pc.transceivers.length, 2);
});

test("does not wait for mesh offers after the room has switched", async (t) => {
  await enterMesh(t);
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  const {pc} = room.peers.get("dave");
  await flip();
  assert.equal(pc.closed, true);
  await advance(t, 10_000);
  assert.equal(room.peers.size, 0);
});

test("answers a client without SFU support and shows it from the mesh", async (t) => {
  await enterSfu(t, "bob");
  await receive("peer:joined", {peerId: "seed", userInfo: {username: "seed"}});
  await receive("webrtc:offer", {fromPeerId: "seed", offer: {type: "offer", sdp: "theirs"}});
  assert.deepEqual(sent("webrtc:answer").map(({targetPeerId}) => targetPeerId), ["sfu:subscribe", "seed"]);
  assert.equal(room.peers.get("seed").polite, false);
  await connectMesh("seed");
  await advance(t, 2_000);
  assert.deepEqual(paths(), {bob: "sfu", seed: "mesh"});
  assert.equal(participant("seed").stream, room.peers.get("seed").stream);
});

test("back in a mesh, the peer of each pair that joined later sends the offer", async (t) => {
  await enterSfu(t, "bob");
  await receive("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await receive("room:mode", {mode: "p2p", version: 3, reason: "room_shrank"});
  assert.deepEqual([...room.peers.values()].map(({id, polite, isIdle}) => [id, polite, isIdle]), [
    ["bob", true, false],
    ["dave", false, true],
  ]);
});

test("back in a mesh, shows peers from the SFU until their media arrives, then closes it", async (t) => {
  await enterSfu(t, "bob", "carol");
  const server = participant("bob").stream;
  await receive("room:mode", {mode: "p2p", version: 3, reason: "host"});
  assert.equal(participant("bob").stream, server);
  room.peers.get("bob").pc.setState("connected");
  await advance(t, 2_000);
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"}, "connected, but no media has arrived");
  await connectMesh("bob");
  await advance(t, 2_000);
  assert.deepEqual(paths(), {bob: "mesh", carol: "sfu"});
  assert.notEqual(room.sfu, null);
  await connectMesh("carol");
  await advance(t, 2_000);
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  assert.equal(room.sfu, null);
});

test("back in a mesh, leaves the SFU after 15 s at the latest", async (t) => {
  await enterSfu(t, "bob");
  await receive("room:mode", {mode: "p2p", version: 3, reason: "host"});
  await advance(t, 14_999);
  assert.deepEqual(paths(), {bob: "sfu"});
  await advance(t, 1);
  assert.equal(room.sfu, null);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("does not show a failed SFU stream while the mesh connects", async (t) => {
  await enterSfu(t, "bob");
  subscription().setState("failed");
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("ignores an older version of the mode", async (t) => {
  await enterSfu(t, "bob");
  await receive("room:mode", {mode: "p2p", version: 1, reason: "host"});
  assert.equal(room.switch.mode, "sfu");
  assert.equal(room.peers.size, 0);
});

test("a second switch uses new connections and is reported again", async (t) => {
  await switchToSfu(t);
  for (const peerId of ["bob", "carol"]) await receive("peer:updated", {peerId, path: "sfu"});
  await receive("room:mode", {mode: "p2p", version: 3, reason: "host"});
  await flip(4);
  await publish();
  await carryOnSfu(t, "bob", "carol");
  assert.deepEqual(reports().map(({version}) => version), [2, 4]);
  await commit(4);
  assert.equal(room.peers.size, 2, "their reports were about the first switch");
});

test("a track change is applied on both paths", async (t) => {
  await enterMesh(t, "bob");
  await flip();
  room.devices.video = {kind: "video", id: "camera"};
  room.devices.dispatchEvent(new CustomEvent("track", {detail: "video"}));
  assert.equal(room.peers.get("bob").pc.transceivers[1].sender.track, room.devices.video);
  assert.equal(publisher().transceivers[1].sender.track, room.devices.video);
});

test("close() closes both paths", async (t) => {
  await switchToSfu(t);
  const connections = [...room.sfu.connections, ...[...room.peers.values()].map(({pc}) => pc)];
  room.close();
  assert.ok(connections.every(({closed}) => closed));
  assert.equal(room.sfu, null);
});
