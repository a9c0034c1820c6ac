import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {SignallingError} from "../../signalling/static/signalling/client/errors.js";
import {FakeSocket, flush} from "./fakes.mjs";

let client;

beforeEach(() => {
  FakeSocket.all = [];
  client = new SignallingClient({url: "ws://example.org/ws/signalling/", token: "abc", WebSocket: FakeSocket});
});

async function connected() {
  const opening = client.connect();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  return socket;
}

test("sends the token as a subprotocol and never in the URL", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  assert.equal(socket.url, "ws://example.org/ws/signalling/");
  assert.deepEqual(socket.protocols, ["signalling.v1", "bearer.abc"]);
});

test("without a token, the session authenticates", async (t) => {
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const socket = await connected();
  t.after(() => client.close());
  assert.deepEqual(socket.protocols, ["signalling.v1"]);
});

test("matches answers to requests in any order", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const first = client.request("webrtc:offer", {targetPeerId: "a"});
  const second = client.request("join:room", {roomCode: "ABC123"});
  const third = client.request("peer:update", {});
  const [one, two, three] = socket.sent.map(({id}) => id);
  socket.deliver("room:joined", {peerId: "me", peers: []}, two);
  socket.deliver("error", {code: "peer_not_found", message: "gone"}, one);
  socket.deliver("ack", {}, three);
  assert.equal((await second).peerId, "me");
  await assert.rejects(first, {name: "SignallingError", code: "peer_not_found"});
  assert.deepEqual(await third, {});
});

test("an error keeps the other data of its frame", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const join = client.request("join:room", {roomCode: "X"});
  socket.deliver("error", {code: "rate_limited", message: "slow down", retryAfter: 7, event: "join:room", limit: 3}, 1);
  const error = await join.catch((refusal) => refusal);
  assert.ok(error instanceof SignallingError);
  assert.equal(error.retryAfter, 7);
  assert.deepEqual(error.details, {event: "join:room", limit: 3});
});

test("dispatches server events with their data, including answers", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const seen = [];
  const stop = client.on("peer:joined", ({peerId}) => seen.push(peerId));
  client.on("room:joined", ({peerId}) => seen.push(peerId));
  client.request("join:room", {roomCode: "ABC123"});
  socket.deliver("room:joined", {peerId: "me", peers: []}, 1);
  socket.deliver("peer:joined", {peerId: "bob"});
  stop();
  socket.deliver("peer:joined", {peerId: "carol"});
  assert.deepEqual(seen, ["me", "bob"]);
});

test("a lost connection dispatches one event and rejects pending requests", async () => {
  const socket = await connected();
  const closes = [];
  client.on("closed", ({code}) => closes.push(code));
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  socket.end(1006);
  await assert.rejects(waiting, {code: "closed", closeCode: 1006});
  assert.deepEqual(closes, [1006]);
  assert.equal(client.connected, false);
});

test("an error frame before an application close code explains it", async () => {
  const socket = await connected();
  const joining = client.request("join:room", {roomCode: "ABC123"});
  socket.deliver("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  await assert.rejects(joining, {code: "token_expired", closeCode: 4401});
});

test("an earlier error does not explain a network failure", async () => {
  const socket = await connected();
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  socket.deliver("error", {code: "peer_not_found", message: "gone", event: "webrtc:ice"});
  socket.end(1006);
  await assert.rejects(waiting, {code: "closed", closeCode: 1006});
});

test("connect() is rejected if the socket never opens", async () => {
  const opening = client.connect();
  FakeSocket.all[0].end(1006);
  await assert.rejects(opening, {code: "closed", closeCode: 1006});
});

test("events of an earlier socket are ignored", async (t) => {
  const old = await connected();
  const current = await connected();
  t.after(() => client.close());
  const seen = [];
  client.on("closed", () => seen.push("closed"));
  client.on("peer:joined", () => seen.push("joined"));
  old.deliver("peer:joined", {peerId: "ghost"});
  old.end(1006);
  assert.deepEqual(seen, []);
  assert.equal(client.connected, true);
  assert.equal(old.closedWith, 1000);
  assert.equal(current.closedWith, undefined);
});

test("a request without a socket is rejected at once", async () => {
  await assert.rejects(client.request("ping"), {code: "closed"});
});

test("sends pings, and gives the socket up after 45 s without a message", async (t) => {
  t.mock.timers.enable({apis: ["setInterval", "Date"]});
  const socket = await connected();
  const closes = [];
  client.on("closed", ({code}) => closes.push(code));
  t.mock.timers.tick(20_000);
  assert.deepEqual(socket.sent, [{event: "ping"}]);
  socket.deliver("pong", {});
  t.mock.timers.tick(40_000);
  assert.deepEqual(closes, []);
  t.mock.timers.tick(20_000);
  assert.deepEqual(closes, [1006]);
});

test("an unanswered request times out", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  await connected();
  t.after(() => client.close());
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  t.mock.timers.tick(15_000);
  await assert.rejects(waiting, {code: "timeout"});
});

test("closes an idle socket with a code that does not end the membership", async (t) => {
  t.mock.timers.enable({apis: ["setInterval", "Date"]});
  const socket = await connected();
  t.mock.timers.tick(60_000);
  assert.equal(socket.closedWith, 4408);
});

test("calls the token function for each connection", async () => {
  let number = 0;
  client.token = async () => `token-${++number}`;
  for (const expected of ["bearer.token-1", "bearer.token-2"]) {
    const opening = client.connect();
    await flush();
    FakeSocket.all.at(-1).open();
    await opening;
    assert.equal(FakeSocket.all.at(-1).protocols[1], expected);
  }
  client.close();
});

test("does not send a refused token again", async () => {
  client.token = () => "stale";
  const opening = client.connect();
  await flush();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  socket.deliver("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  const again = await client.connect().catch((error) => error);
  assert.deepEqual([again.code, again.closeCode], ["token_expired", undefined]);
  assert.equal(FakeSocket.all.length, 1);
});

test("opens no socket if the client was closed while the token function ran", async () => {
  let giveToken;
  client.token = () => new Promise((resolve) => (giveToken = resolve));
  const opening = client.connect();
  client.close();
  giveToken("late");
  await assert.rejects(opening, {code: "closed"});
  assert.equal(FakeSocket.all.length, 0);
});

test("connect() is rejected with the error of the token function", async () => {
  client.token = async () => Promise.reject(new TypeError("fetch failed"));
  await assert.rejects(client.connect(), TypeError);
});
