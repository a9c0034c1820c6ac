import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {FakeConnection, FakeSocket, FakeStream, sdpOf, settled} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {Room} = await import("../../signalling/static/signalling/index.js");
const {meshCap} = await import("../../signalling/static/signalling/mesh/bitrate.js");

const SFU = {provider: "proxied"};
const BOTH = {audio: true, video: true};
const LIMITS = {p2p: 3, total: 50, meshKbps: [900, 500, 150]};

let client;
let room;
let socket;
let told;

beforeEach(() => {
  FakeSocket.all = [];
  FakeConnection.all = [];
  told = [];
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const devices = Object.assign(new EventTarget(), {stream: new FakeStream(), audio: null, video: null, state: {}});
  room = new Room(client, devices);
  room.addEventListener("lost", ({detail}) => told.push(detail ? "lost" : "found"));
  room.addEventListener("failed", ({detail}) => told.push(`failed ${detail.code}`));
});

const entry = (id, data = {}) => ({id, userInfo: {username: id}, media: BOTH, ...data});
const shown = (id) => room.participants.get(id);
const paths = () => Object.fromEntries([...room.participants.values()].map(({id, path}) => [id, path]));
const sent = (event) => socket.sent.filter((frame) => frame.event === event).map(({data}) => data);
const reports = () => sent("sfu:state");
const publisher = () => room.sfu.connections[0];
const subscription = () => room.sfu.connections[1];
const capOf = (id) => room.peers.get(id).pc.transceivers[1].sender.encodings[0].maxBitrate;

/** Time stands still but for `pass`. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  t.mock.method(console, "warn", () => {});
  t.after(() => (room.close(), client.close()));
}

async function pass(t, ms) {
  t.mock.timers.tick(ms);
  for (let turn = 0; turn < 5; turn += 1) await settled();
}

async function enter(joined) {
  const opening = client.connect();
  socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  await say("room:joined", {peerId: "me", limits: LIMITS, ...joined});
}

async function say(event, data, id) {
  socket.say(event, data, id);
  for (let turn = 0; turn < 5; turn += 1) await settled();
}

/** The mesh connection with somebody stands, and their media arrives on it. */
async function connects(id) {
  const {pc} = room.peers.get(id);
  pc.ontrack({track: {kind: "video", id: `mesh-${id}`}});
  pc.flows.add(`mesh-${id}`);
  if (pc.signalingState === "stable") await pc.onnegotiationneeded?.();
  pc.becomes("connected");
  for (let turn = 0; turn < 5; turn += 1) await settled();
}

/** In a mesh with these, who were there before us. */
async function inAMesh(t, ...ids) {
  freeze(t);
  await enter({mode: "p2p", modeVersion: 1, peers: ids.map((id) => entry(id))});
  for (const id of ids) await connects(id);
}

const flips = (version = 2) => say("room:mode", {mode: "sfu", version, switching: true, reason: "room_grew", sfu: SFU});
const commits = (version = 2) => say("room:mode", {mode: "sfu", version, reason: "committed"});

/** The SFU carries these, as far as it is known to us. */
async function carries(t, ...ids) {
  const mids = ids.flatMap((id) => [`a-${id}`, `v-${id}`]);
  const streams = mids.map((mid) => ({mid, peerId: mid.slice(2), kind: mid.startsWith("a") ? "audio" : "video"}));
  const offer = {type: "offer", sdp: sdpOf(...mids)};
  await say("webrtc:offer", {fromPeerId: "sfu:subscribe", offer, streams, connection: 1});
  subscription().becomes("connected");
  for (const id of ids) subscription().flow(`v-${id}`);
  await pass(t, 2_000);
}

async function publishes() {
  await publisher().onnegotiationneeded();
  await say("webrtc:answer", {fromPeerId: "sfu:publish", answer: {type: "answer", sdp: "theirs"}});
  publisher().becomes("connected");
}

/** In a room that the SFU carries, with these in it. */
async function settledInTheSfu(t, ...ids) {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 2, sfu: SFU, peers: ids.map((id) => entry(id, {path: "sfu"}))});
  await publishes();
  await carries(t, ...ids);
}

test("who comes to a room in the SFU publishes there and offers to nobody", async (t) => {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 1, sfu: SFU, peers: [entry("bob"), entry("carol")]});
  await publisher().onnegotiationneeded();
  assert.equal(room.peers.size, 0);
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await pass(t, 10_000);
  assert.equal(room.peers.size, 0, "nor to who comes later");
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu", dave: "sfu"});
  assert.equal(shown("bob").state, "connecting");
});

test("each is shown from the SFU when they have arrived there, and the mesh is kept", async (t) => {
  await inAMesh(t, "bob", "carol");
  const mesh = shown("carol").stream;
  await flips();
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  await carries(t, "bob");
  assert.deepEqual(paths(), {bob: "sfu", carol: "mesh"});
  assert.equal(shown("bob").stream, room.sfu.streams.get("bob"));
  assert.equal(shown("carol").stream, mesh);
  assert.deepEqual([...room.peers.keys()], ["bob", "carol"]);
});

test("a track at the SFU whose media has not arrived replaces nothing", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  const streams = [{mid: "v-bob", peerId: "bob", kind: "video"}];
  await say("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp: sdpOf("v-bob")}, streams, connection: 1});
  subscription().becomes("connected");
  await pass(t, 200);
  await pass(t, 3_000);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("an SFU that is faster than our first look at the mesh replaces nothing before its media is there", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  const streams = [{mid: "v-bob", peerId: "bob", kind: "video"}];
  await say("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp: sdpOf("v-bob")}, streams, connection: 1});
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("while the SFU has trouble whoever is in the mesh still is shown from there", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  await carries(t, "bob");
  subscription().becomes("disconnected");
  assert.deepEqual(paths(), {bob: "mesh"});
  subscription().becomes("connected");
  assert.deepEqual(paths(), {bob: "sfu"});
});

test("that we receive everybody is said once, when we are connected and all have arrived", async (t) => {
  await inAMesh(t, "bob", "carol");
  await flips();
  await carries(t, "bob", "carol");
  assert.deepEqual(reports(), [], "what we send is not there yet");
  await publishes();
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
  await pass(t, 20_000);
  await commits();
  assert.equal(reports().length, 1);
});

test("who does not arrive is waited for, for five seconds from our own connection on", async (t) => {
  await inAMesh(t, "bob", "carol");
  await flips();
  await carries(t, "bob");
  await publishes();
  await pass(t, 4_999);
  assert.deepEqual(reports(), []);
  await pass(t, 1);
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
});

test("who leaves is not waited for", async (t) => {
  await inAMesh(t, "bob", "carol");
  await flips();
  await carries(t, "bob");
  await publishes();
  await say("peer:left", {peerId: "carol", reason: "left"});
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
});

test("that we cannot reach the SFU is said after ten seconds, and that we can after all, too", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  await pass(t, 9_999);
  assert.deepEqual(reports(), []);
  await pass(t, 1);
  assert.deepEqual(reports(), [{version: 2, state: "failed"}]);
  await carries(t, "bob");
  await publishes();
  assert.deepEqual(reports().map(({state}) => state), ["failed", "receiving"]);
});

test("an SFU of a kind that we do not know is one that we cannot reach", async (t) => {
  await inAMesh(t, "bob");
  await say("room:mode", {mode: "sfu", version: 2, switching: true, reason: "room_grew", sfu: {provider: "of tomorrow"}});
  await pass(t, 10_000);
  assert.deepEqual(reports(), [{version: 2, state: "failed"}]);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test('the provider name of earlier servers, "janus", is accepted', async (t) => {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 1, sfu: {provider: "janus"}, peers: []});
  await publisher().onnegotiationneeded();
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
});

test("where nobody switches, nobody waits for our failure", async (t) => {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 2, sfu: SFU, peers: []});
  await pass(t, 10_000);
  assert.deepEqual(reports(), []);
});

async function switched(t) {
  await inAMesh(t, "bob", "carol");
  await flips();
  await publishes();
  await carries(t, "bob", "carol");
}

test("when the switch is committed the mesh connections of those who have reported are closed", async (t) => {
  await switched(t);
  const {pc} = room.peers.get("bob");
  await say("peer:updated", {peerId: "bob", path: "sfu"});
  assert.equal(room.peers.size, 2, "it may still be taken back");
  await commits();
  assert.equal(pc.closed, true);
  assert.deepEqual([...room.peers.keys()], ["carol"], "carol may still depend on it");
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"});
  await say("peer:updated", {peerId: "carol", path: "sfu"});
  assert.equal(room.peers.size, 0);
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"});
});

test("whom we do not receive from the SFU keeps their mesh connection until we do", async (t) => {
  await inAMesh(t, "bob", "carol");
  await flips();
  await publishes();
  await carries(t, "bob");
  await pass(t, 5_000);
  for (const peerId of ["bob", "carol"]) await say("peer:updated", {peerId, path: "sfu"});
  await commits();
  assert.deepEqual([...room.peers.keys()], ["carol"]);
  await carries(t, "bob", "carol");
  assert.equal(room.peers.size, 0);
});

test("a commit without us closes nothing of ours: the others see us in the mesh alone", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  await carries(t, "bob");
  await say("peer:updated", {peerId: "bob", path: "sfu"});
  await commits();
  assert.deepEqual([...room.peers.keys()], ["bob"]);
  await publishes();
  assert.equal(room.peers.size, 0);
});

test("a rollback rebuilds nothing that still runs", async (t) => {
  await switched(t);
  const {pc} = room.peers.get("bob");
  const connections = [...room.sfu.connections];
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("bob").pc, pc);
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  assert.equal(room.sfu, null);
  assert.ok(connections.every(({closed}) => closed));
  assert.notEqual(pc.closed, true);
});

test("who came during the switch is the one that offers after a rollback", async (t) => {
  await switched(t);
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  assert.equal(room.peers.has("dave"), false);
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("dave").polite, false);
  assert.equal(room.peers.get("dave").isIdle, true);
});

test("and that is us, if we came", async (t) => {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 2, switching: true, sfu: SFU, peers: [entry("bob")]});
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_unreachable"});
  assert.equal(room.peers.get("bob").polite, true);
  assert.equal(room.peers.get("bob").pc.transceivers.length, 2);
});

test("whoever would have offered to us when the room flipped is not waited for", async (t) => {
  await inAMesh(t);
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  const {pc} = room.peers.get("dave");
  await flips();
  assert.equal(pc.closed, true);
  await pass(t, 10_000);
  assert.equal(room.peers.size, 0);
});

test("who knows nothing of SFUs is answered, and shown from the mesh", async (t) => {
  await settledInTheSfu(t, "bob");
  await say("peer:joined", {peerId: "seed", userInfo: {username: "seed"}});
  await say("webrtc:offer", {fromPeerId: "seed", offer: {type: "offer", sdp: "theirs"}});
  assert.deepEqual(sent("webrtc:answer").map(({targetPeerId}) => targetPeerId), ["sfu:subscribe", "seed"]);
  assert.equal(room.peers.get("seed").polite, false);
  await connects("seed");
  await pass(t, 2_000);
  assert.deepEqual(paths(), {bob: "sfu", seed: "mesh"});
  assert.equal(shown("seed").stream, room.peers.get("seed").stream);
});

test("back in a mesh, of each pair the one that came later offers", async (t) => {
  await settledInTheSfu(t, "bob");
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await say("room:mode", {mode: "p2p", version: 3, reason: "room_shrank"});
  assert.deepEqual([...room.peers.values()].map(({id, polite, isIdle}) => [id, polite, isIdle]), [
    ["bob", true, false],
    ["dave", false, true],
  ]);
});

test("back in a mesh, each is shown from the SFU until their media has arrived, and then that is closed", async (t) => {
  await settledInTheSfu(t, "bob", "carol");
  const server = shown("bob").stream;
  await say("room:mode", {mode: "p2p", version: 3, reason: "host"});
  assert.equal(shown("bob").stream, server);
  room.peers.get("bob").pc.becomes("connected");
  await pass(t, 2_000);
  assert.deepEqual(paths(), {bob: "sfu", carol: "sfu"}, "connected, and nothing has come yet");
  await connects("bob");
  await pass(t, 2_000);
  assert.deepEqual(paths(), {bob: "mesh", carol: "sfu"});
  assert.notEqual(room.sfu, null);
  await connects("carol");
  await pass(t, 2_000);
  assert.deepEqual(paths(), {bob: "mesh", carol: "mesh"});
  assert.equal(room.sfu, null);
});

test("back in a mesh, the SFU is left after fifteen seconds at the latest", async (t) => {
  await settledInTheSfu(t, "bob");
  await say("room:mode", {mode: "p2p", version: 3, reason: "host"});
  await pass(t, 14_999);
  assert.deepEqual(paths(), {bob: "sfu"});
  await pass(t, 1);
  assert.equal(room.sfu, null);
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("a stream of the SFU that is dead is not shown while the mesh connects", async (t) => {
  await settledInTheSfu(t, "bob");
  subscription().becomes("failed");
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  assert.deepEqual(paths(), {bob: "mesh"});
});

test("what is said of an older version is ignored", async (t) => {
  await settledInTheSfu(t, "bob");
  await say("room:mode", {mode: "p2p", version: 1, reason: "host"});
  assert.equal(room.switch.mode, "sfu");
  assert.equal(room.peers.size, 0);
});

test("a second switch is made with new connections and reported anew", async (t) => {
  await switched(t);
  for (const peerId of ["bob", "carol"]) await say("peer:updated", {peerId, path: "sfu"});
  await say("room:mode", {mode: "p2p", version: 3, reason: "host"});
  await flips(4);
  await publishes();
  await carries(t, "bob", "carol");
  assert.deepEqual(reports().map(({version}) => version), [2, 4]);
  await commits(4);
  assert.equal(room.peers.size, 2, "that they have reported was said of the first one");
});

test("a lost SFU is told, and is published to anew when it is back", async (t) => {
  await settledInTheSfu(t, "bob");
  const before = room.sfu.connections;
  await say("room:mode", {mode: "sfu", version: 2, reason: "sfu_lost"});
  assert.deepEqual(told, ["lost"]);
  for (const pc of before) pc.becomes("failed");
  await pass(t, 120_000);
  assert.equal(sent("sfu:restart").filter(({anew}) => anew).length, 0, "nobody could answer");
  assert.equal(shown("bob").state, "failed");

  await say("room:mode", {mode: "sfu", version: 2, reason: "sfu_back"});
  await say("sfu:reset", {sfu: SFU});
  assert.deepEqual(told, ["lost", "found"]);
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.equal(sent("webrtc:offer").length, 2);
  await carries(t, "bob");
  assert.deepEqual(paths(), {bob: "sfu"});
  assert.equal(shown("bob").state, "connected");
});

test("in a mesh again, nothing is lost", async (t) => {
  await settledInTheSfu(t, "bob");
  await say("room:mode", {mode: "sfu", version: 2, reason: "sfu_lost"});
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  assert.deepEqual(told, ["lost", "found"]);
});

test("a connection that does not mend itself is asked for anew, ever more seldom", async (t) => {
  await settledInTheSfu(t, "bob");
  const anew = () => sent("sfu:restart").filter((data) => data.anew).length;
  subscription().becomes("disconnected");
  await pass(t, 5_000);
  assert.deepEqual(sent("sfu:restart"), [{}]);
  await pass(t, 9_999);
  assert.equal(anew(), 0);
  await pass(t, 1);
  assert.equal(anew(), 1);
  await pass(t, 29_999);
  assert.equal(anew(), 1);
  await say("sfu:reset", {sfu: SFU});
  await pass(t, 30_000);
  assert.equal(anew(), 2, "that it was begun anew makes it no more patient");
  await publishes();
  await pass(t, 300_000);
  assert.equal(anew(), 2);
});

test("an SFU that refuses us is asked for another token soon", async (t) => {
  freeze(t);
  const livekit = {provider: "livekit", url: "wss://sfu.example.org", token: "abc", client: "data:text/javascript,"};
  await enter({mode: "sfu", modeVersion: 1, sfu: livekit, peers: []});
  for (let turn = 0; turn < 200 && room.sfu.publishing !== "failed"; turn += 1) await settled();
  assert.equal(room.sfu.publishing, "failed");
  await pass(t, 999);
  assert.deepEqual(sent("sfu:restart"), []);
  await pass(t, 1);
  assert.deepEqual(sent("sfu:restart"), [{anew: true}]);
});

test("a place that is given back keeps its connections to the SFU", async (t) => {
  await settledInTheSfu(t, "bob", "carol");
  const before = room.sfu.connections;
  for (const {id} of socket.sent) if (id) await say("ack", {}, id);
  socket.end(1006);
  await enter({resumed: true, mode: "sfu", modeVersion: 2, sfu: SFU, peers: [entry("bob", {path: "sfu"}), entry("dave")]});
  assert.deepEqual(room.sfu.connections, before);
  assert.ok(before.every(({closed}) => !closed));
  assert.deepEqual(paths(), {bob: "sfu", dave: "sfu"});
  assert.deepEqual(socket.sent.map(({event}) => event), ["peer:update"]);
});

test("after a gap the SFU is asked to offer again, for its last offer may be what was lost", async (t) => {
  await settledInTheSfu(t, "bob");
  socket.end(1006);
  await enter({resumed: true, gap: true, mode: "sfu", modeVersion: 2, sfu: SFU, peers: [entry("bob", {path: "sfu"})]});
  assert.deepEqual(sent("sfu:restart"), [{}]);
});

test("a mode that has changed in our absence is made up for", async (t) => {
  await settledInTheSfu(t, "bob");
  socket.end(1006);
  await enter({resumed: true, mode: "p2p", modeVersion: 3, peers: [entry("bob"), entry("dave")]});
  assert.deepEqual([...room.peers.values()].map(({id, polite}) => [id, polite]), [
    ["bob", true],
    ["dave", false],
  ]);
  socket.end(1006);
  await enter({resumed: true, mode: "sfu", modeVersion: 4, switching: true, sfu: SFU, peers: [entry("bob"), entry("dave")]});
  await publisher().onnegotiationneeded();
  assert.equal(sent("webrtc:offer").at(-1).targetPeerId, "sfu:publish");
});

test("what was in the SFU is gone when it was left and entered again in our absence", async (t) => {
  await settledInTheSfu(t, "bob");
  const before = room.sfu.connections;
  socket.end(1006);
  await enter({resumed: true, mode: "sfu", modeVersion: 4, sfu: SFU, peers: [entry("bob", {path: "sfu"})]});
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["sfu:publish"]);
});

test("a place that is another one is built anew, and nothing of the one before is sent", async (t) => {
  await settledInTheSfu(t, "bob");
  const before = room.sfu.connections;
  socket.end(1006);
  publisher().onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:old"})}});
  await enter({resumed: false, mode: "sfu", modeVersion: 1, sfu: SFU, peers: [entry("bob")]});
  assert.ok(before.every(({closed}) => closed));
  await publisher().onnegotiationneeded();
  assert.deepEqual(socket.sent.map(({event}) => event), ["peer:update", "webrtc:offer"]);
});

test("what the SFU has not acknowledged is said again after a loss, and a report too", async (t) => {
  await switched(t);
  socket.end(1006);
  await enter({resumed: true, mode: "sfu", modeVersion: 2, switching: true, sfu: SFU, peers: [entry("bob"), entry("carol")]});
  assert.deepEqual(reports(), [{version: 2, state: "receiving"}]);
  assert.deepEqual(sent("webrtc:offer").map(({targetPeerId}) => targetPeerId), ["bob", "carol", "sfu:publish"]);
  assert.deepEqual(sent("webrtc:answer").map(({targetPeerId}) => targetPeerId), ["sfu:subscribe"]);
});

test("a refusal of the SFU is no news to the user: the server says what becomes of it", async (t) => {
  freeze(t);
  await enter({mode: "sfu", modeVersion: 1, sfu: SFU, peers: []});
  await publisher().onnegotiationneeded();
  const {id} = socket.sent.find(({event}) => event === "webrtc:offer");
  socket.say("error", {code: "sfu_unavailable", message: "away", event: "webrtc:offer"}, id);
  await settled();
  assert.deepEqual(told, []);
});

test("a device that changes changes on both paths", async (t) => {
  await inAMesh(t, "bob");
  await flips();
  room.devices.video = {kind: "video", id: "camera"};
  room.devices.dispatchEvent(new CustomEvent("track", {detail: "video"}));
  assert.equal(room.peers.get("bob").pc.transceivers[1].sender.track, room.devices.video);
  assert.equal(publisher().transceivers[1].sender.track, room.devices.video);
});

test("what a mesh sends is capped by how many are in it, and by the least while both paths run", async (t) => {
  await inAMesh(t, "bob");
  assert.equal(capOf("bob"), 900_000);
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  await settled();
  assert.equal(capOf("bob"), 500_000);
  await flips();
  assert.equal(capOf("bob"), 150_000);
  assert.equal(publisher().transceivers[1].sender.encodings[0].maxBitrate, undefined);
  await say("room:mode", {mode: "p2p", version: 3, reason: "sfu_lost"});
  await say("peer:left", {peerId: "dave", reason: "left"});
  assert.equal(capOf("bob"), 900_000);
});

test("where there was nothing to cap before the connection stood, there is then", async (t) => {
  freeze(t);
  await enter({mode: "p2p", modeVersion: 1, peers: [entry("bob")]});
  const {sender} = room.peers.get("bob").pc.transceivers[1];
  sender.encodings = [];
  await say("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, media: BOTH});
  sender.encodings = [{}];
  await connects("bob");
  assert.equal(capOf("bob"), 500_000);
});

test("the cap for a number of peers is its own, and a larger mesh has the last one", () => {
  const caps = (others, isDoubled = false) => meshCap([900, 500, 150], others, isDoubled);
  assert.deepEqual([1, 2, 3, 4, 9].map((others) => caps(others)), [900, 500, 150, 150, 150]);
  assert.equal(caps(0), 900);
  assert.equal(caps(1, true), 150);
  assert.equal(meshCap([], 1, true), null);
});

test("the end closes both paths", async (t) => {
  await switched(t);
  const connections = [...room.sfu.connections, ...[...room.peers.values()].map(({pc}) => pc)];
  room.close();
  assert.ok(connections.every(({closed}) => closed));
  assert.equal(room.sfu, null);
});
