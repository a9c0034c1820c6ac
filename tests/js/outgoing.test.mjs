import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {Outgoing} from "../../signalling/static/signalling/client/outgoing.js";
import {FakeSocket, settled} from "./fakes.mjs";

const OFFER = {offer: "sdp"};
const ANSWER = {answer: "sdp"};
const line = (n) => ({candidate: `candidate:${n}`});

let client;
let outgoing;
let failures;

beforeEach(() => {
  FakeSocket.all = [];
  failures = [];
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  outgoing = new Outgoing(client);
  outgoing.addEventListener("failed", ({detail: {id, error}}) => failures.push([id, error.code]));
});

/** A socket in the room. */
async function inTheRoom(t) {
  const opening = client.connect();
  FakeSocket.all.at(-1).open();
  await opening;
  t.after(() => client.close());
  outgoing.resume();
  return FakeSocket.all.at(-1);
}

/** The socket ends as when a network fails, and those who wait are told so. */
async function lost(socket) {
  socket.end(1006);
  outgoing.pause();
  await settled();
}

const through = (socket) => socket.sent.map(({event, data}) => [event, data]);
const offer = (id = "bob") => outgoing.send(id, "webrtc:offer", OFFER);
const candidate = (n, id = "bob") => outgoing.send(id, "webrtc:ice", line(n));

test("in the room all goes at once; descriptions ask for an answer, candidates do not", async (t) => {
  const socket = await inTheRoom(t);
  offer();
  candidate(1);
  assert.deepEqual(socket.sent, [
    {event: "webrtc:offer", data: OFFER, id: 1},
    {event: "webrtc:ice", data: line(1)},
  ]);
});

test("what comes up while we are away is sent when we are back, in order", async (t) => {
  await lost(await inTheRoom(t));
  outgoing.send("bob", "webrtc:answer", ANSWER);
  candidate(1);
  offer();
  candidate(2);
  const next = await inTheRoom(t);
  assert.deepEqual(through(next), [
    ["webrtc:answer", ANSWER],
    ["webrtc:ice", line(1)],
    ["webrtc:offer", OFFER],
    ["webrtc:ice", line(2)],
  ]);
});

test("a socket that is open is not yet a place in the room", async (t) => {
  const opening = client.connect();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  t.after(() => client.close());
  candidate(1);
  assert.deepEqual(through(socket), []);
  outgoing.resume();
  assert.deepEqual(through(socket), [["webrtc:ice", line(1)]]);
});

test("a description that nobody acknowledged is sent again, with the candidates behind it", async (t) => {
  const socket = await inTheRoom(t);
  offer();
  candidate(1);
  await lost(socket);
  const next = await inTheRoom(t);
  assert.deepEqual(through(next), [
    ["webrtc:offer", OFFER],
    ["webrtc:ice", line(1)],
  ]);
});

test("what was acknowledged is not sent again", async (t) => {
  const socket = await inTheRoom(t);
  offer();
  candidate(1);
  socket.say("ack", {}, 1);
  await settled();
  candidate(2);
  await lost(socket);
  assert.deepEqual(through(await inTheRoom(t)), []);
});

test("what was sent after a return is not sent after the next one", async (t) => {
  await lost(await inTheRoom(t));
  candidate(1);
  candidate(2);
  const second = await inTheRoom(t);
  assert.equal(second.sent.length, 2);
  await lost(second);
  assert.deepEqual(through(await inTheRoom(t)), []);
});

test("of two descriptions under way the one that was acknowledged is done", async (t) => {
  const socket = await inTheRoom(t);
  outgoing.send("bob", "webrtc:answer", ANSWER);
  candidate(1);
  offer();
  candidate(2);
  socket.say("ack", {}, 1);
  await settled();
  await lost(socket);
  assert.deepEqual(through(await inTheRoom(t)), [
    ["webrtc:offer", OFFER],
    ["webrtc:ice", line(2)],
  ]);
});

test("of candidates only the latest are kept, and the description in any case", async (t) => {
  await lost(await inTheRoom(t));
  offer();
  for (let n = 1; n <= 40; n += 1) candidate(n);
  const frames = through(await inTheRoom(t));
  assert.equal(frames.length, 33);
  assert.deepEqual(frames[0], ["webrtc:offer", OFFER]);
  assert.deepEqual(frames[1], ["webrtc:ice", line(9)]);
  assert.deepEqual(frames.at(-1), ["webrtc:ice", line(40)]);
});

test("nothing is sent to somebody who left meanwhile", async (t) => {
  await lost(await inTheRoom(t));
  offer("bob");
  offer("carol");
  outgoing.discard("bob");
  assert.equal((await inTheRoom(t)).sent.length, 1);
});

test("what the server asks to send later is sent later", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await inTheRoom(t);
  offer();
  socket.say("error", {code: "rate_limited", message: "slow", retryAfter: 2}, 1);
  await settled();
  t.mock.timers.tick(2_000);
  await settled();
  assert.deepEqual(through(socket), [
    ["webrtc:offer", OFFER],
    ["webrtc:offer", OFFER],
  ]);
});

test("a loss in that time makes it no two", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await inTheRoom(t);
  offer();
  socket.say("error", {code: "rate_limited", message: "slow", retryAfter: 2}, 1);
  await settled();
  await lost(socket);
  const next = await inTheRoom(t);
  t.mock.timers.tick(2_000);
  await settled();
  assert.deepEqual(through(next), [["webrtc:offer", OFFER]]);
});

test("a refusal is told, but for somebody who has just left", async (t) => {
  const socket = await inTheRoom(t);
  offer("bob");
  offer("carol");
  socket.say("error", {code: "peer_not_found", message: "gone"}, 1);
  socket.say("error", {code: "message_too_large", message: "big"}, 2);
  await settled();
  assert.deepEqual(failures, [["carol", "message_too_large"]]);
  await lost(socket);
  assert.deepEqual(through(await inTheRoom(t)), [], "neither is tried again");
});
