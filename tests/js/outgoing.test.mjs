import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {Outgoing} from "../../signalling/static/signalling/client/outgoing.js";
import {FakeSocket, flush} from "./fakes.mjs";

const OFFER = {offer: "sdp"};
const ANSWER = {answer: "sdp"};
const candidateInit = (n) => ({candidate: `candidate:${n}`});

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

/** Return a socket that has joined the room. */
async function enterRoom(t) {
  const opening = client.connect();
  FakeSocket.all.at(-1).open();
  await opening;
  t.after(() => client.close());
  outgoing.resume();
  return FakeSocket.all.at(-1);
}

/** Lose the socket, as when the network fails. */
async function lose(socket) {
  socket.end(1006);
  outgoing.pause();
  await flush();
}

const framesOf = (socket) => socket.sent.map(({event, data}) => [event, data]);
const offer = (id = "bob") => outgoing.send(id, "webrtc:offer", OFFER);
const candidate = (n, id = "bob") => outgoing.send(id, "webrtc:ice", candidateInit(n));

test("in the room, sends at once; descriptions are requests, candidates are not", async (t) => {
  const socket = await enterRoom(t);
  offer();
  candidate(1);
  assert.deepEqual(socket.sent, [
    {event: "webrtc:offer", data: OFFER, id: 1},
    {event: "webrtc:ice", data: candidateInit(1)},
  ]);
});

test("frames from a disconnection are sent in order after it", async (t) => {
  await lose(await enterRoom(t));
  outgoing.send("bob", "webrtc:answer", ANSWER);
  candidate(1);
  offer();
  candidate(2);
  const next = await enterRoom(t);
  assert.deepEqual(framesOf(next), [
    ["webrtc:answer", ANSWER],
    ["webrtc:ice", candidateInit(1)],
    ["webrtc:offer", OFFER],
    ["webrtc:ice", candidateInit(2)],
  ]);
});

test("sends nothing before we are in the room, even if the socket is open", async (t) => {
  const opening = client.connect();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  t.after(() => client.close());
  candidate(1);
  assert.deepEqual(framesOf(socket), []);
  outgoing.resume();
  assert.deepEqual(framesOf(socket), [["webrtc:ice", candidateInit(1)]]);
});

test("repeats an unacknowledged description and the candidates after it", async (t) => {
  const socket = await enterRoom(t);
  offer();
  candidate(1);
  await lose(socket);
  const next = await enterRoom(t);
  assert.deepEqual(framesOf(next), [
    ["webrtc:offer", OFFER],
    ["webrtc:ice", candidateInit(1)],
  ]);
});

test("does not repeat acknowledged frames", async (t) => {
  const socket = await enterRoom(t);
  offer();
  candidate(1);
  socket.deliver("ack", {}, 1);
  await flush();
  candidate(2);
  await lose(socket);
  assert.deepEqual(framesOf(await enterRoom(t)), []);
});

test("does not repeat candidates that were sent after a reconnection", async (t) => {
  await lose(await enterRoom(t));
  candidate(1);
  candidate(2);
  const second = await enterRoom(t);
  assert.equal(second.sent.length, 2);
  await lose(second);
  assert.deepEqual(framesOf(await enterRoom(t)), []);
});

test("does not repeat the acknowledged one of two pending descriptions", async (t) => {
  const socket = await enterRoom(t);
  outgoing.send("bob", "webrtc:answer", ANSWER);
  candidate(1);
  offer();
  candidate(2);
  socket.deliver("ack", {}, 1);
  await flush();
  await lose(socket);
  assert.deepEqual(framesOf(await enterRoom(t)), [
    ["webrtc:offer", OFFER],
    ["webrtc:ice", candidateInit(2)],
  ]);
});

test("keeps the latest candidates only, and always the description", async (t) => {
  await lose(await enterRoom(t));
  offer();
  for (let n = 1; n <= 40; n += 1) candidate(n);
  const frames = framesOf(await enterRoom(t));
  assert.equal(frames.length, 33);
  assert.deepEqual(frames[0], ["webrtc:offer", OFFER]);
  assert.deepEqual(frames[1], ["webrtc:ice", candidateInit(9)]);
  assert.deepEqual(frames.at(-1), ["webrtc:ice", candidateInit(40)]);
});

test("sends nothing to a peer that has left", async (t) => {
  await lose(await enterRoom(t));
  offer("bob");
  offer("carol");
  outgoing.discard("bob");
  assert.equal((await enterRoom(t)).sent.length, 1);
});

test("sends again after the time that the server asked for", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await enterRoom(t);
  offer();
  socket.deliver("error", {code: "rate_limited", message: "slow", retryAfter: 2}, 1);
  await flush();
  t.mock.timers.tick(2_000);
  await flush();
  assert.deepEqual(framesOf(socket), [
    ["webrtc:offer", OFFER],
    ["webrtc:offer", OFFER],
  ]);
});

test("a loss during that time does not duplicate the frame", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const socket = await enterRoom(t);
  offer();
  socket.deliver("error", {code: "rate_limited", message: "slow", retryAfter: 2}, 1);
  await flush();
  await lose(socket);
  const next = await enterRoom(t);
  t.mock.timers.tick(2_000);
  await flush();
  assert.deepEqual(framesOf(next), [["webrtc:offer", OFFER]]);
});

test("reports a refusal unless the peer has left", async (t) => {
  const socket = await enterRoom(t);
  offer("bob");
  offer("carol");
  socket.deliver("error", {code: "peer_not_found", message: "gone"}, 1);
  socket.deliver("error", {code: "message_too_large", message: "big"}, 2);
  await flush();
  assert.deepEqual(failures, [["carol", "message_too_large"]]);
  await lose(socket);
  assert.deepEqual(framesOf(await enterRoom(t)), [], "neither is repeated");
});
