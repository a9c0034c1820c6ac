import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {SignallingError} from "../../signalling/static/signalling/client/errors.js";
import {FakeSocket, settled} from "./fakes.mjs";

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

test("the token travels as a subprotocol and never in the URL", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  assert.equal(socket.url, "ws://example.org/ws/signalling/");
  assert.deepEqual(socket.protocols, ["signalling.v1", "bearer.abc"]);
});

test("without a token the session counts", async (t) => {
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const socket = await connected();
  t.after(() => client.close());
  assert.deepEqual(socket.protocols, ["signalling.v1"]);
});

test("each answer reaches the request that it belongs to, in whatever order they come", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const first = client.request("webrtc:offer", {targetPeerId: "a"});
  const second = client.request("join:room", {roomCode: "ABC123"});
  const third = client.request("peer:update", {});
  const [one, two, three] = socket.sent.map(({id}) => id);
  socket.say("room:joined", {peerId: "me", peers: []}, two);
  socket.say("error", {code: "peer_not_found", message: "gone"}, one);
  socket.say("ack", {}, three);
  assert.equal((await second).peerId, "me");
  await assert.rejects(first, {name: "SignallingError", code: "peer_not_found"});
  assert.deepEqual(await third, {});
});

test("an error keeps what the server said beside its code", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const join = client.request("join:room", {roomCode: "X"});
  socket.say("error", {code: "rate_limited", message: "slow down", retryAfter: 7, event: "join:room", limit: 3}, 1);
  const error = await join.catch((refusal) => refusal);
  assert.ok(error instanceof SignallingError);
  assert.equal(error.retryAfter, 7);
  assert.deepEqual(error.details, {event: "join:room", limit: 3});
});

test("server events are dispatched with their data, an answer's too", async (t) => {
  const socket = await connected();
  t.after(() => client.close());
  const seen = [];
  const stop = client.on("peer:joined", ({peerId}) => seen.push(peerId));
  client.on("room:joined", ({peerId}) => seen.push(peerId));
  client.request("join:room", {roomCode: "ABC123"});
  socket.say("room:joined", {peerId: "me", peers: []}, 1);
  socket.say("peer:joined", {peerId: "bob"});
  stop();
  socket.say("peer:joined", {peerId: "carol"});
  assert.deepEqual(seen, ["me", "bob"]);
});

test("a lost connection is told once and rejects what waits", async () => {
  const socket = await connected();
  const closes = [];
  client.on("closed", ({code}) => closes.push(code));
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  socket.end(1006);
  await assert.rejects(waiting, {code: "closed", closeCode: 1006});
  assert.deepEqual(closes, [1006]);
  assert.equal(client.connected, false);
});

test("the error frame before a close of the application's says why", async () => {
  const socket = await connected();
  const joining = client.request("join:room", {roomCode: "ABC123"});
  socket.say("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  await assert.rejects(joining, {code: "token_expired", closeCode: 4401});
});

test("an error from long before does not explain a network that fails", async () => {
  const socket = await connected();
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  socket.say("error", {code: "peer_not_found", message: "gone", event: "webrtc:ice"});
  socket.end(1006);
  await assert.rejects(waiting, {code: "closed", closeCode: 1006});
});

test("a socket that never opens rejects connect()", async () => {
  const opening = client.connect();
  FakeSocket.all[0].end(1006);
  await assert.rejects(opening, {code: "closed", closeCode: 1006});
});

test("whatever an old socket still fires does nothing", async (t) => {
  const old = await connected();
  const current = await connected();
  t.after(() => client.close());
  const seen = [];
  client.on("closed", () => seen.push("closed"));
  client.on("peer:joined", () => seen.push("joined"));
  old.say("peer:joined", {peerId: "ghost"});
  old.end(1006);
  assert.deepEqual(seen, []);
  assert.equal(client.connected, true);
  assert.equal(old.closedWith, 1000);
  assert.equal(current.closedWith, undefined);
});

test("a request on a closed client is refused at once", async () => {
  await assert.rejects(client.request("ping"), {code: "closed"});
});

test("pings keep the socket alive; silence ends it", async (t) => {
  t.mock.timers.enable({apis: ["setInterval", "Date"]});
  const socket = await connected();
  const closes = [];
  client.on("closed", ({code}) => closes.push(code));
  t.mock.timers.tick(20_000);
  assert.deepEqual(socket.sent, [{event: "ping"}]);
  socket.say("pong", {});
  t.mock.timers.tick(40_000);
  assert.deepEqual(closes, []);
  t.mock.timers.tick(20_000);
  assert.deepEqual(closes, [1006]);
});

test("a request that nobody answers ends by itself", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  await connected();
  t.after(() => client.close());
  const waiting = client.request("join:room", {roomCode: "ABC123"});
  t.mock.timers.tick(15_000);
  await assert.rejects(waiting, {code: "timeout"});
});

test("a silent socket is closed with a code that does not mean goodbye", async (t) => {
  t.mock.timers.enable({apis: ["setInterval", "Date"]});
  const socket = await connected();
  t.mock.timers.tick(60_000);
  assert.equal(socket.closedWith, 4408);
});

test("a token function is asked at each connection", async () => {
  let number = 0;
  client.token = async () => `token-${++number}`;
  for (const expected of ["bearer.token-1", "bearer.token-2"]) {
    const opening = client.connect();
    await settled();
    FakeSocket.all.at(-1).open();
    await opening;
    assert.equal(FakeSocket.all.at(-1).protocols[1], expected);
  }
  client.close();
});

test("a token that was refused is not shown again", async () => {
  client.token = () => "stale";
  const opening = client.connect();
  await settled();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  socket.say("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  const again = await client.connect().catch((error) => error);
  assert.deepEqual([again.code, again.closeCode], ["token_expired", undefined]);
  assert.equal(FakeSocket.all.length, 1);
});

test("a token that comes when the client was closed meanwhile opens no socket", async () => {
  let give;
  client.token = () => new Promise((resolve) => (give = resolve));
  const opening = client.connect();
  client.close();
  give("late");
  await assert.rejects(opening, {code: "closed"});
  assert.equal(FakeSocket.all.length, 0);
});

test("what a token function throws is the caller's to know", async () => {
  client.token = async () => Promise.reject(new TypeError("fetch failed"));
  await assert.rejects(client.connect(), TypeError);
});
