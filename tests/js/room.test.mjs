import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {FakeConnection, FakeSocket, FakeStream, flush} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {Room} = await import("../../signalling/static/signalling/room/room.js");

const ANSWER = {type: "answer", sdp: "theirs"};

let client;
let room;
let events;

beforeEach(() => {
  FakeSocket.all = [];
  events = [];
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const devices = Object.assign(new EventTarget(), {stream: new MediaStream(), audio: null, video: null, state: {}});
  room = new Room(client, devices);
  for (const event of ["joined", "changed", "left", "failed"])
    room.addEventListener(event, ({detail}) => events.push(`${event} ${detail.id ?? detail.code}`));
});

const entry = (id, data = {}) => ({id, userInfo: {username: id}, ...data});

async function enterRoom(t, joined) {
  const opening = client.connect();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  t.after(() => (room.close(), client.close()));
  socket.deliver("room:joined", {peerId: "me", ...joined});
  await flush();
  return socket;
}

/** Enter a call with these peers, all connected, and clear the events. */
async function enterCallWith(t, ...ids) {
  const socket = await enterRoom(t, {peers: ids.map((id) => entry(id))});
  for (const id of ids) {
    await room.peers.get(id).pc.onnegotiationneeded();
    socket.deliver("ack", {}, socket.sent.at(-1).id);
    socket.deliver("webrtc:answer", {fromPeerId: id, answer: ANSWER});
    await flush();
    room.peers.get(id).pc.setState("connected");
  }
  await flush();
  events.length = 0;
  return socket;
}

const resume = (t, peers, data = {}) => enterRoom(t, {resumed: true, peers, ...data});
const relayed = (socket) => socket.sent.filter(({event}) => event.startsWith("webrtc:"));

test("a provisional answer is not taken for the final one", async (t) => {
  const socket = await enterRoom(t, {peers: [entry("bob")]});
  const {pc} = room.peers.get("bob");
  await pc.onnegotiationneeded();
  for (const type of ["pranswer", "answer"]) {
    socket.deliver("webrtc:answer", {fromPeerId: "bob", answer: {type, sdp: "theirs"}});
    await flush();
  }
  assert.deepEqual(pc.calls, ["pranswer", "answer"]);
});

test("losing the socket closes no connection", async (t) => {
  const socket = await enterCallWith(t, "bob");
  const {pc} = room.peers.get("bob");
  socket.end(1006);
  assert.notEqual(pc.closed, true);
  assert.deepEqual([...room.participants.keys()], ["bob"]);
  assert.deepEqual(events, []);
});

test("a participant that stays keeps its connection", async (t) => {
  (await enterCallWith(t, "bob")).end(1006);
  const {pc} = room.peers.get("bob");
  const next = await resume(t, [entry("bob", {media: {audio: false}})]);
  assert.equal(room.peers.get("bob").pc, pc);
  assert.notEqual(pc.closed, true);
  assert.equal(pc.restarts, 0);
  assert.deepEqual(relayed(next), []);
  assert.deepEqual(room.participants.get("bob").media, {audio: false});
  assert.ok(!events.includes("left bob") && !events.includes("joined bob"));
});

test("after a resume, removes peers that left and waits for offers from new ones", async (t) => {
  (await enterCallWith(t, "bob", "carol")).end(1006);
  const {pc} = room.peers.get("bob");
  const next = await resume(t, [entry("carol"), entry("dave")]);
  assert.equal(pc.closed, true);
  assert.deepEqual([...room.participants.keys()], ["carol", "dave"]);
  assert.equal(room.peers.get("dave").polite, false, "the newcomer sends the offer");
  assert.equal(room.peers.get("dave").pc.transceivers.length, 0);
  next.deliver("webrtc:offer", {fromPeerId: "dave", offer: {type: "offer", sdp: "held for us"}});
  await flush();
  await flush();
  assert.deepEqual(relayed(next).map(({event, data}) => [event, data.targetPeerId]), [["webrtc:answer", "dave"]]);
});

test("negotiates with every peer again after a gap", async (t) => {
  (await enterCallWith(t, "bob", "carol")).end(1006);
  await resume(t, [entry("bob"), entry("carol"), entry("dave")], {gap: true});
  assert.deepEqual(["bob", "carol"].map((id) => room.peers.get(id).pc.restarts), [1, 1]);
  assert.equal(room.peers.get("dave").pc.transceivers.length, 2, "its offer may be lost, so we send one");
});

test("without a gap, restarts broken connections only", async (t) => {
  (await enterCallWith(t, "bob", "carol")).end(1006);
  room.peers.get("bob").pc.iceConnectionState = "failed";
  await resume(t, [entry("bob"), entry("carol")]);
  assert.deepEqual(["bob", "carol"].map((id) => room.peers.get(id).pc.restarts), [1, 0]);
});

test("sends candidates from a disconnection after it", async (t) => {
  (await enterCallWith(t, "bob")).end(1006);
  room.peers.get("bob").pc.onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:new network"})}});
  const next = await resume(t, [entry("bob")]);
  assert.deepEqual(relayed(next).map(({data}) => data.candidate.candidate), ["candidate:new network"]);
});

test("reports our media state again after a resume", async (t) => {
  (await enterCallWith(t, "bob")).end(1006);
  room.devices.state = {audio: false};
  const next = await resume(t, [entry("bob")]);
  assert.deepEqual(next.sent.at(-1), {event: "peer:update", data: {media: {audio: false}}});
});

test("rebuilds everything if the membership was not resumed", async (t) => {
  (await enterCallWith(t, "bob")).end(1006);
  const {pc} = room.peers.get("bob");
  pc.onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:of the earlier membership"})}});
  const next = await enterRoom(t, {peerId: "me-2", resumed: false, peers: [entry("bob")]});
  assert.equal(pc.closed, true);
  assert.notEqual(room.peers.get("bob").pc, pc);
  assert.equal(room.peers.get("bob").pc.transceivers.length, 2, "we are the newcomer");
  assert.deepEqual(relayed(next), []);
});

test("marks participants as away until they are back, and keeps their media", async (t) => {
  const socket = await enterCallWith(t, "bob");
  const {pc} = room.peers.get("bob");
  const bob = room.participants.get("bob");
  socket.deliver("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  assert.equal(bob.away, true);
  assert.notEqual(pc.closed, true);
  socket.deliver("peer:back", {peerId: "bob"});
  assert.equal(bob.away, false);
  assert.deepEqual(events, ["changed bob", "changed bob"]);
  assert.equal(pc.restarts, 0);
});

test("a second peer:joined updates a participant and keeps its connection", async (t) => {
  const socket = await enterCallWith(t, "bob");
  const {pc} = room.peers.get("bob");
  socket.deliver("peer:joined", {peerId: "bob", userInfo: {username: "bob"}, media: {audio: false}});
  assert.equal(room.peers.get("bob").pc, pc);
  assert.notEqual(pc.closed, true);
  assert.deepEqual(room.participants.get("bob").media, {audio: false});
  assert.deepEqual(events, ["changed bob"]);
});

test("a peer that had left may join again", async (t) => {
  const socket = await enterCallWith(t, "bob");
  const bob = {peerId: "bob", userInfo: {username: "bob"}};
  for (const event of ["peer:left", "peer:left", "peer:joined"]) socket.deliver(event, bob);
  assert.deepEqual([...room.participants.keys()], ["bob"]);
  assert.deepEqual(events, ["left bob", "joined bob"]);
});

test("marks participants that were away before we joined or resumed", async (t) => {
  const socket = await enterCallWith(t, "bob");
  socket.end(1006);
  await resume(t, [entry("bob", {away: true}), entry("carol", {away: true})]);
  assert.deepEqual([...room.participants.values()].map(({away}) => away), [true, true]);
});

test("repeats an unanswered offer when the peer is back", async (t) => {
  const socket = await enterRoom(t, {peers: [entry("bob")]});
  await room.peers.get("bob").pc.onnegotiationneeded();
  socket.deliver("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  socket.deliver("peer:back", {peerId: "bob"});
  const offers = relayed(socket).map(({data}) => data);
  assert.equal(offers.length, 2);
  assert.deepEqual(offers[0], offers[1]);
});

test("does not report peer_busy for a participant that is away", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await enterRoom(t, {peers: [entry("bob")]});
  socket.deliver("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  await room.peers.get("bob").pc.onnegotiationneeded();
  socket.deliver("error", {code: "peer_busy", message: "full"}, relayed(socket)[0].id);
  await flush();
  assert.ok(!events.includes("failed peer_busy"));
});

test("an update of a display name keeps the user name, and clashes change with the roster", async (t) => {
  const socket = await enterCallWith(t, "bob", "carol");
  const name = (id) => room.participants.get(id).name;
  socket.deliver("peer:updated", {peerId: "bob", displayName: "Carol", nameKeys: ["bob", "carol"]});
  assert.equal(name("bob"), "Carol");
  socket.deliver("peer:joined", {peerId: "dave", userInfo: {username: "dave"}, nameKeys: ["carol"]});
  assert.equal(name("bob"), "\u2068Carol\u2069 (bob)");
  assert.equal(room.participants.get("bob").username, "bob");
  socket.deliver("peer:left", {peerId: "dave"});
  assert.equal(name("bob"), "Carol");
  socket.deliver("peer:updated", {peerId: "bob", displayName: "", nameKeys: ["bob"]});
  assert.equal(name("bob"), "bob");
});
