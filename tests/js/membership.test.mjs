import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {Membership} from "../../signalling/static/signalling/client/membership.js";
import {FakeSocket, flush} from "./fakes.mjs";

let client;
let membership;
let events;
let page;

beforeEach(() => {
  FakeSocket.all = [];
  events = [];
  page = {window: new EventTarget(), document: Object.assign(new EventTarget(), {visibilityState: "visible"})};
  create("abc");
});

function create(token) {
  client = new SignallingClient({url: "ws://example.org/ws/signalling/", token, WebSocket: FakeSocket});
  membership = new Membership(client, page);
  membership.addEventListener("away", () => events.push("away"));
  membership.addEventListener("back", ({detail}) => events.push(detail.resumed ? "resumed" : "rejoined"));
  membership.addEventListener("ended", ({detail}) => events.push(`ended ${detail.code} ${detail.closeCode}`));
}

const latest = () => FakeSocket.all.at(-1);
const joinOf = (socket) => socket.sent.filter(({event}) => event === "join:room").at(-1);

/** Stop the clock, and make each random wait half of its range. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout", "setInterval", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  t.after(() => membership.close());
}

function admit(socket, number, data = {}) {
  const joined = {peerId: "me", peers: [], resumed: number > 1, resumeToken: `resume-${number}`, resumeWindow: 30, ...data};
  socket.deliver("room:joined", joined, joinOf(socket).id);
}

async function joined(t) {
  freeze(t);
  const joining = membership.join("ABC123");
  await flush();
  latest().open();
  await flush();
  admit(latest(), 1);
  await joining;
  return latest();
}

/** Let the wait pass and open the next socket. */
async function reconnects(t, wait) {
  const before = FakeSocket.all.length;
  t.mock.timers.tick(wait);
  await flush();
  assert.equal(FakeSocket.all.length, before + 1, "another socket is opened");
  latest().open();
  await flush();
  return latest();
}

test("the first join is resumable", async (t) => {
  const socket = await joined(t);
  assert.deepEqual(joinOf(socket).data, {roomCode: "ABC123", resumable: true});
  assert.equal(membership.peerId, "me");
  assert.equal(membership.resumeWindow, 30);
  assert.deepEqual(events, []);
});

test("the first join is not retried", async (t) => {
  freeze(t);
  const joining = membership.join("ABC123");
  await flush();
  latest().end(1006);
  await assert.rejects(joining, {code: "closed", closeCode: 1006});
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(events, []);
});

for (const code of [1001, 1006, 1012, 4408, 4500, 4503, 4508]) {
  test(`resumes after a close with ${code}`, async (t) => {
    const socket = await joined(t);
    socket.end(code);
    assert.deepEqual(events, ["away"]);
    const next = await reconnects(t, 500);
    assert.deepEqual(joinOf(next).data, {roomCode: "ABC123", resumable: true, resumeToken: "resume-1"});
    admit(next, 2);
    assert.deepEqual(events, ["away", "resumed"]);
    assert.equal(membership.peerId, "me");
  });
}

for (const code of [1000, 4400, 4401, 4403, 4409, 4410, 4429]) {
  test(`ends after a close with ${code}`, async (t) => {
    const socket = await joined(t);
    socket.end(code);
    t.mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 1);
    assert.deepEqual(events, [`ended closed ${code}`]);
  });
}

test("each resume uses the token from the previous join", async (t) => {
  (await joined(t)).end(1006);
  const second = await reconnects(t, 500);
  admit(second, 2);
  t.mock.timers.tick(10_000);
  second.end(4503);
  const third = await reconnects(t, 500);
  assert.equal(joinOf(third).data.resumeToken, "resume-2");
});

test("attempts continue with growing waits while the server does not answer", async (t) => {
  (await joined(t)).end(1006);
  for (const wait of [500, 1_000, 2_000, 4_000, 7_000, 7_000]) {
    t.mock.timers.tick(wait - 1);
    const before = FakeSocket.all.length;
    await flush();
    t.mock.timers.tick(1);
    await flush();
    assert.equal(FakeSocket.all.length, before + 1);
    latest().end(1006);
    await flush();
  }
  assert.deepEqual(events, ["away"]);
});

test("the online event ends the wait", async (t) => {
  (await joined(t)).end(1006);
  page.window.dispatchEvent(new Event("online"));
  await flush();
  assert.equal(FakeSocket.all.length, 2);
});

test("a late close of an earlier socket is ignored", async (t) => {
  const old = await joined(t);
  t.mock.timers.tick(60_000); // no message arrives: the client gives the socket up
  assert.deepEqual(events, ["away"]);
  const next = await reconnects(t, 500);
  admit(next, 2);
  old.end(1006);
  assert.deepEqual(events, ["away", "resumed"]);
  assert.equal(client.connected, true);
  t.mock.timers.tick(15_000);
  assert.equal(FakeSocket.all.length, 2);
});

test("an attempt that a hint has overtaken is ignored", async (t) => {
  (await joined(t)).end(1006);
  t.mock.timers.tick(500);
  await flush();
  const first = latest();
  first.end(1006);
  page.window.dispatchEvent(new Event("online"));
  await flush();
  const second = latest();
  assert.notEqual(first, second);
  second.open();
  await flush();
  first.end(4403);
  admit(second, 2);
  assert.deepEqual(events, ["away", "resumed"]);
});

test("a socket that closes right after it opens is retried", async (t) => {
  (await joined(t)).end(1006);
  t.mock.timers.tick(500);
  await flush();
  const next = latest();
  next.open();
  next.readyState = 2; // the close frame has arrived, but its event has not fired
  await flush();
  assert.deepEqual(events, ["away"]);
  next.end(4503);
  await reconnects(t, 1_000);
  assert.deepEqual(events, ["away"]);
});

for (const code of ["resume_expired", "resume_invalid"]) {
  test(`joins again after ${code}, on the same socket and as another peer`, async (t) => {
    (await joined(t)).end(1006);
    const next = await reconnects(t, 500);
    next.deliver("error", {code, message: "gone"}, joinOf(next).id);
    await flush();
    assert.equal(latest(), next);
    assert.equal(joinOf(next).data.resumeToken, undefined);
    admit(next, 2, {peerId: "me-2", resumed: false});
    assert.deepEqual(events, ["away", "rejoined"]);
    assert.equal(membership.peerId, "me-2");
  });
}

test("joins without a token if the server sent none", async (t) => {
  freeze(t);
  const joining = membership.join("ABC123");
  await flush();
  latest().open();
  await flush();
  admit(latest(), 1, {resumeToken: undefined, resumeWindow: undefined});
  await joining;
  latest().end(1006);
  const next = await reconnects(t, 500);
  assert.equal("resumeToken" in joinOf(next).data, false);
});

for (const code of ["room_full", "room_closed", "removed", "forbidden", "user_inactive"]) {
  test(`ends after ${code}`, async (t) => {
    (await joined(t)).end(1006);
    const next = await reconnects(t, 500);
    next.deliver("error", {code, message: "no", retryAfter: 3}, joinOf(next).id);
    await flush();
    assert.deepEqual(events, ["away", `ended ${code} undefined`]);
    assert.equal(next.closedWith, 1000);
    t.mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 2);
  });
}

test("ends when we are removed because the room is too large for a mesh", async (t) => {
  const socket = await joined(t);
  socket.deliver("error", {code: "sfu_unavailable", message: "away"});
  assert.deepEqual(events, ["ended sfu_unavailable undefined"]);
  assert.equal(socket.closedWith, 1000);
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test("a refused request to the SFU does not end it", async (t) => {
  const socket = await joined(t);
  socket.deliver("error", {code: "sfu_unavailable", message: "away", event: "webrtc:ice"});
  socket.deliver("error", {code: "peer_not_found", message: "gone"});
  assert.deepEqual(events, []);
  assert.equal(socket.closedWith, undefined);
});

for (const code of ["unavailable", "rate_limited"]) {
  test(`retries after ${code}, when the server says so and on the same socket`, async (t) => {
    (await joined(t)).end(1006);
    const next = await reconnects(t, 500);
    next.deliver("error", {code, message: "wait", retryAfter: 5}, joinOf(next).id);
    await flush();
    page.window.dispatchEvent(new Event("online"));
    t.mock.timers.tick(5_000); // the time that the server asked for; the wait of the second attempt is added
    t.mock.timers.tick(999);
    await flush();
    const joins = () => next.sent.filter(({event}) => event === "join:room").length;
    assert.equal(joins(), 1);
    t.mock.timers.tick(1);
    await flush();
    assert.equal(joins(), 2);
    admit(next, 2);
    assert.deepEqual(events, ["away", "resumed"]);
  });
}

test("waits as long as a restarting server asks for", async (t) => {
  const socket = await joined(t);
  socket.deliver("error", {code: "unavailable", message: "elsewhere", retryAfter: 2});
  socket.end(4503);
  t.mock.timers.tick(2_000);
  t.mock.timers.tick(499);
  await flush();
  assert.equal(FakeSocket.all.length, 1);
  await reconnects(t, 1);
});

test("gives an unanswered join up while the token is still valid", async (t) => {
  (await joined(t)).end(1006);
  const silent = await reconnects(t, 500);
  t.mock.timers.tick(5_000);
  await flush();
  assert.equal(silent.closedWith, 4408);
  const next = await reconnects(t, 1_000);
  assert.equal(joinOf(next).data.resumeToken, "resume-1");
});

test("calls the token function for each attempt", async (t) => {
  let number = 0;
  create(async () => `token-${++number}`);
  (await joined(t)).end(1006);
  const next = await reconnects(t, 500);
  assert.equal(next.protocols[1], "bearer.token-2");
});

test("tries once with a new token after 4401", async (t) => {
  let token = "old";
  create(() => token);
  const socket = await joined(t);
  token = "new";
  socket.deliver("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  assert.deepEqual(events, ["away"]);
  const next = await reconnects(t, 500);
  assert.equal(next.protocols[1], "bearer.new");
  token = "newer";
  next.deliver("error", {code: "user_inactive", message: "no"});
  next.end(4401);
  await flush();
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 2);
  assert.deepEqual(events, ["away", "ended user_inactive 4401"]);
});

test("renews a token that expires soon on the open socket", async (t) => {
  let number = 0;
  create(async () => `token-${++number}`);
  const socket = await joined(t);
  socket.deliver("token:expiring", {expiresAt: "2030-01-01T00:00:00Z"});
  await flush();
  const {id, data} = socket.sent.filter(({event}) => event === "authenticate").at(-1);
  assert.deepEqual(data, {token: "token-2"});
  socket.deliver("authenticated", {userInfo: {}, expiresAt: null}, id);
  assert.equal(membership.state, "in");
  assert.equal(FakeSocket.all.length, 1);
});

for (const [name, token] of Object.entries({
  "that is fixed": "abc",
  "of a session": () => null,
  "whose function fails": () => Promise.reject(new Error("offline")),
})) {
  test(`does not renew a token ${name}`, async (t) => {
    const socket = await joined(t);
    client.token = token;
    socket.deliver("token:expiring", {expiresAt: "2030-01-01T00:00:00Z"});
    await flush();
    assert.deepEqual(socket.sent.filter(({event}) => event === "authenticate"), []);
    assert.equal(membership.state, "in");
  });
}

test("does not try again with the same token after 4401", async (t) => {
  create(() => "old");
  const socket = await joined(t);
  socket.deliver("error", {code: "token_revoked", message: "no"});
  socket.end(4401);
  t.mock.timers.tick(500);
  await flush();
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(events, ["away", "ended token_revoked undefined"]);
});

test("retries if the token function fails", async (t) => {
  let isReachable = true;
  create(async () => (isReachable ? "abc" : Promise.reject(new TypeError("fetch failed"))));
  const socket = await joined(t);
  isReachable = false;
  socket.end(1006);
  t.mock.timers.tick(500);
  await flush();
  assert.equal(FakeSocket.all.length, 1);
  isReachable = true;
  admit(await reconnects(t, 1_000), 2);
  assert.deepEqual(events, ["away", "resumed"]);
});

test("leave() sends leave:room, closes with 1000 and does not reconnect", async (t) => {
  const socket = await joined(t);
  membership.leave();
  assert.equal(socket.sent.at(-1).event, "leave:room");
  assert.equal(socket.closedWith, 1000);
  socket.end(1000);
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(events, []);
});

test("leave() while disconnected does not reconnect", async (t) => {
  (await joined(t)).end(1006);
  membership.leave();
  t.mock.timers.tick(60_000);
  page.window.dispatchEvent(new Event("online"));
  await flush();
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(events, ["away"]);
});
