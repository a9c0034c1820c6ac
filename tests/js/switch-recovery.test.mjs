import assert from "node:assert/strict";
import {test} from "node:test";
import {flush} from "./fakes.mjs";
import {
  SFU, advance, carryOnSfu, client, enterRoom, enterSfu, entry, events, participant, paths,
  publish, publisher, receive, reports, room, sent, socket, stopClock, subscription, switchToSfu,
} from "./room_fixture.mjs";

test("reports a lost SFU, and publishes again when it is back", async (t) => {
  await enterSfu(t, "bob");
  const before = room.sfu.connections;
  await receive("room:mode", {mode: "sfu", version: 2, reason: "sfu_lost"});
  assert.deepEqual(events, ["lost"]);
  for (const pc of before) pc.setState("failed");
  await advance(t, 120_000);
  assert.equal(sent("sfu:restart").filter(({anew}) => anew).length, 0, "nothing could answer");
  assert.equal(participant("bob").state, "failed");

  await receive("room:mode", {mode: "sfu", version: 2, reason: "sfu_back"});
  await receive("sfu:reset", {sfu: SFU});
  assert.deepEqual(events, ["lost", "available"]);
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.equal(sent("webrtc:offer").length, 2);
  await carryOnSfu(t, "bob");
  assert.deepEqual(paths(), {bob: "sfu"});
  assert.equal(participant("bob").state, "connected");
});

test("returning to a mesh ends the loss of the SFU", async (t) => {
  await enterSfu(t, "bob");
  await receive("room:mode", {mode: "sfu", version: 2, reason: "sfu_lost"});
  await receive("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  assert.deepEqual(events, ["lost", "available"]);
});

test("requests another session if a connection does not recover, with growing intervals", async (t) => {
  await enterSfu(t, "bob");
  const anew = () => sent("sfu:restart").filter((data) => data.anew).length;
  subscription().setState("disconnected");
  await advance(t, 5_000);
  assert.deepEqual(sent("sfu:restart"), [{}]);
  await advance(t, 9_999);
  assert.equal(anew(), 0);
  await advance(t, 1);
  assert.equal(anew(), 1);
  await advance(t, 29_999);
  assert.equal(anew(), 1);
  await receive("sfu:reset", {sfu: SFU});
  await advance(t, 30_000);
  assert.equal(anew(), 2, "the new session keeps the interval");
  await publish();
  await advance(t, 300_000);
  assert.equal(anew(), 2);
});

test("requests another token soon after a refusal", async (t) => {
  stopClock(t);
  const livekit = {provider: "livekit", url: "wss://sfu.example.org", token: "abc", client: "data:text/javascript,"};
  await enterRoom({mode: "sfu", modeVersion: 1, sfu: livekit, peers: []});
  for (let turn = 0; turn < 200 && room.sfu.publishing !== "failed"; turn += 1) await flush();
  assert.equal(room.sfu.publishing, "failed");
  await advance(t, 999);
  assert.deepEqual(sent("sfu:restart"), []);
  await advance(t, 1);
  assert.deepEqual(sent("sfu:restart"), [{anew: true}]);
});

test("a resume keeps the connections to the SFU", async (t) => {
  await enterSfu(t, "bob", "carol");
  const before = room.sfu.connections;
  for (const {id} of socket.sent) if (id) await receive("ack", {}, id);
  socket.end(1006);
  await enterRoom({resumed: true, mode: "sfu", modeVersion: 2, sfu: SFU, peers: [entry("bob", {path: "sfu"}), entry("dave")]});
  assert.deepEqual(room.sfu.connections, before);
  assert.ok(before.every(({closed}) => !closed));
  assert.deepEqual(paths(), {bob: "sfu", dave: "sfu"});
  assert.deepEqual(socket.sent.map(({event}) => event), ["peer:update"]);
});

test("after a gap, asks the SFU for another offer: the last one may be lost", async (t) => {
  await enterSfu(t, "bob");
  socket.end(1006);
  await enterRoom({resumed: true, gap: true, mode: "sfu", modeVersion: 2, sfu: SFU, peers: [entry("bob", {path: "sfu"})]});
  assert.deepEqual(sent("sfu:restart"), [{}]);
});

test("a resume applies a mode that has changed while we were away", async (t) => {
  await enterSfu(t, "bob");
  socket.end(1006);
  await enterRoom({resumed: true, mode: "p2p", modeVersion: 3, peers: [entry("bob"), entry("dave")]});
  assert.deepEqual([...room.peers.values()].map(({id, polite}) => [id, polite]), [
    ["bob", true],
    ["dave", false],
  ]);
  socket.end(1006);
  await enterRoom({resumed: true, mode: "sfu", modeVersion: 4, switching: true, sfu: SFU, peers: [entry("bob"), entry("dave")]});
  await publisher().onnegotiationneeded();
  assert.equal(sent("webrtc:offer").at(-1).targetPeerId, "sfu:publish");
});

test("replaces the session if the room has left and re-entered SFU mode while we were away", async (t) => {
  await enterSfu(t, "bob");
  const before = room.sfu.connections;
  socket.end(1006);
  await enterRoom({resumed: true, mode: "sfu", modeVersion: 4, sfu: SFU, peers: [entry("bob", {path: "sfu"})]});
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
});

test("a new membership uses a new session and sends nothing from the earlier one", async (t) => {
  await enterSfu(t, "bob");
  const before = room.sfu.connections;
  socket.end(1006);
  publisher().onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:old"})}});
  await enterRoom({resumed: false, mode: "sfu", modeVersion: 1, sfu: SFU, peers: [entry("bob")]});
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.deepEqual(socket.sent.map(({event}) => event), ["peer:update", "webrtc:offer"]);
});

test("repeats unacknowledged messages and reports after a loss", async (t) => {
  await switchToSfu(t);
  socket.end(1006);
  await enterRoom({resumed: true, mode: "sfu", modeVersion: 2, switching: true, sfu: SFU, peers: [entry("bob"), entry("carol")]});
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["bob", "carol", "sfu:publish"]);
  assert.deepEqual(sent("webrtc:answer").map(({targetPeerId}) => targetPeerId), ["sfu:subscribe"]);
});

test("does not report a refusal of the SFU: the server reports its state", async (t) => {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 1, sfu: SFU, peers: []});
  await publisher().onnegotiationneeded();
  const {id} = socket.sent.find(({event}) => event === "webrtc:offer");
  socket.deliver("error", {code: "sfu_unavailable", message: "away", event: "webrtc:offer"}, id);
  await flush();
  assert.deepEqual(events, []);
});
