import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {FakeConnection, FakeSocket, FakeStream, settled} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {Room} = await import("../../signalling/static/signalling/room/room.js");

const ANSWER = {type: "answer", sdp: "theirs"};

let client;
let room;
let told;

beforeEach(() => {
  FakeSocket.all = [];
  told = [];
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const devices = Object.assign(new EventTarget(), {stream: new MediaStream(), audio: null, video: null, state: {}});
  room = new Room(client, devices);
  for (const event of ["joined", "changed", "left", "failed"])
    room.addEventListener(event, ({detail}) => told.push(`${event} ${detail.id ?? detail.code}`));
});

const entry = (id, data = {}) => ({id, userInfo: {username: id}, ...data});

async function socketInTheRoom(t, joined) {
  const opening = client.connect();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  t.after(() => (room.close(), client.close()));
  socket.say("room:joined", {peerId: "me", ...joined});
  await settled();
  return socket;
}

/** In a call with these, all connected; what was told of that is no matter here. */
async function inACallWith(t, ...ids) {
  const socket = await socketInTheRoom(t, {peers: ids.map((id) => entry(id))});
  for (const id of ids) {
    await room.peers.get(id).pc.onnegotiationneeded();
    socket.say("ack", {}, socket.sent.at(-1).id);
    socket.say("webrtc:answer", {fromPeerId: id, answer: ANSWER});
    await settled();
    room.peers.get(id).pc.becomes("connected");
  }
  await settled();
  told.length = 0;
  return socket;
}

const resumes = (t, peers, data = {}) => socketInTheRoom(t, {resumed: true, peers, ...data});
const relayed = (socket) => socket.sent.filter(({event}) => event.startsWith("webrtc:"));

test("the loss of the socket ends nothing", async (t) => {
  const socket = await inACallWith(t, "bob");
  const {pc} = room.peers.get("bob");
  socket.end(1006);
  assert.notEqual(pc.closed, true);
  assert.deepEqual([...room.participants.keys()], ["bob"]);
  assert.deepEqual(told, []);
});

test("who was there and is there stays, with the same connection", async (t) => {
  (await inACallWith(t, "bob")).end(1006);
  const {pc} = room.peers.get("bob");
  const next = await resumes(t, [entry("bob", {media: {audio: false}})]);
  assert.equal(room.peers.get("bob").pc, pc);
  assert.notEqual(pc.closed, true);
  assert.equal(pc.restarts, 0);
  assert.deepEqual(relayed(next), []);
  assert.deepEqual(room.participants.get("bob").media, {audio: false});
  assert.ok(!told.includes("left bob") && !told.includes("joined bob"));
});

test("who went meanwhile is gone, and who came is waited for", async (t) => {
  (await inACallWith(t, "bob", "carol")).end(1006);
  const {pc} = room.peers.get("bob");
  const next = await resumes(t, [entry("carol"), entry("dave")]);
  assert.equal(pc.closed, true);
  assert.deepEqual([...room.participants.keys()], ["carol", "dave"]);
  assert.equal(room.peers.get("dave").polite, false, "the newcomer offers, and that is not us");
  assert.equal(room.peers.get("dave").pc.transceivers.length, 0);
  next.say("webrtc:offer", {fromPeerId: "dave", offer: {type: "offer", sdp: "held for us"}});
  await settled();
  await settled();
  assert.deepEqual(relayed(next).map(({event, data}) => [event, data.targetPeerId]), [["webrtc:answer", "dave"]]);
});

test("after a gap negotiation begins again with everybody", async (t) => {
  (await inACallWith(t, "bob", "carol")).end(1006);
  await resumes(t, [entry("bob"), entry("carol"), entry("dave")], {gap: true});
  assert.deepEqual(["bob", "carol"].map((id) => room.peers.get(id).pc.restarts), [1, 1]);
  assert.equal(room.peers.get("dave").pc.transceivers.length, 2, "their offer may be lost: we offer");
});

test("without a gap only what broke is restarted", async (t) => {
  (await inACallWith(t, "bob", "carol")).end(1006);
  room.peers.get("bob").pc.iceConnectionState = "failed";
  await resumes(t, [entry("bob"), entry("carol")]);
  assert.deepEqual(["bob", "carol"].map((id) => room.peers.get(id).pc.restarts), [1, 0]);
});

test("candidates of the time away are sent after the return", async (t) => {
  (await inACallWith(t, "bob")).end(1006);
  room.peers.get("bob").pc.onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:new network"})}});
  const next = await resumes(t, [entry("bob")]);
  assert.deepEqual(relayed(next).map(({data}) => data.candidate.candidate), ["candidate:new network"]);
});

test("what we send is told again, for we may have changed it meanwhile", async (t) => {
  (await inACallWith(t, "bob")).end(1006);
  room.devices.state = {audio: false};
  const next = await resumes(t, [entry("bob")]);
  assert.deepEqual(next.sent.at(-1), {event: "peer:update", data: {media: {audio: false}}});
});

test("a place that is another one is built anew", async (t) => {
  (await inACallWith(t, "bob")).end(1006);
  const {pc} = room.peers.get("bob");
  pc.onicecandidate({candidate: {toJSON: () => ({candidate: "candidate:of the place before"})}});
  const next = await socketInTheRoom(t, {peerId: "me-2", resumed: false, peers: [entry("bob")]});
  assert.equal(pc.closed, true);
  assert.notEqual(room.peers.get("bob").pc, pc);
  assert.equal(room.peers.get("bob").pc.transceivers.length, 2, "we are the newcomer");
  assert.deepEqual(relayed(next), []);
});

test("others that lose their signalling keep their media and are marked until they are back", async (t) => {
  const socket = await inACallWith(t, "bob");
  const {pc} = room.peers.get("bob");
  const bob = room.participants.get("bob");
  socket.say("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  assert.equal(bob.away, true);
  assert.notEqual(pc.closed, true);
  socket.say("peer:back", {peerId: "bob"});
  assert.equal(bob.away, false);
  assert.deepEqual(told, ["changed bob", "changed bob"]);
  assert.equal(pc.restarts, 0);
});

test("who is away when we come is marked, and so is who went away in our absence", async (t) => {
  const socket = await inACallWith(t, "bob");
  socket.end(1006);
  await resumes(t, [entry("bob", {away: true}), entry("carol", {away: true})]);
  assert.deepEqual([...room.participants.values()].map(({away}) => away), [true, true]);
});

test("an offer that nobody has answered is repeated to who is back", async (t) => {
  const socket = await socketInTheRoom(t, {peers: [entry("bob")]});
  await room.peers.get("bob").pc.onnegotiationneeded();
  socket.say("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  socket.say("peer:back", {peerId: "bob"});
  const offers = relayed(socket).map(({data}) => data);
  assert.equal(offers.length, 2);
  assert.deepEqual(offers[0], offers[1]);
});

test("more than can be kept for somebody who is away is no news to the user", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await socketInTheRoom(t, {peers: [entry("bob")]});
  socket.say("peer:away", {peerId: "bob", until: "2026-01-01T00:00:30Z"});
  await room.peers.get("bob").pc.onnegotiationneeded();
  socket.say("error", {code: "peer_busy", message: "full"}, relayed(socket)[0].id);
  await settled();
  assert.ok(!told.includes("failed peer_busy"));
});
