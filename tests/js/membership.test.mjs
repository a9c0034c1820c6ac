import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {Membership} from "../../signalling/static/signalling/client/membership.js";
import {FakeSocket, settled} from "./fakes.mjs";

let client;
let membership;
let told;
let page;

beforeEach(() => {
  FakeSocket.all = [];
  told = [];
  page = {window: new EventTarget(), document: Object.assign(new EventTarget(), {visibilityState: "visible"})};
  begin("abc");
});

function begin(token) {
  client = new SignallingClient({url: "ws://example.org/ws/signalling/", token, WebSocket: FakeSocket});
  membership = new Membership(client, page);
  membership.addEventListener("away", () => told.push("away"));
  membership.addEventListener("back", ({detail}) => told.push(detail.resumed ? "back" : "anew"));
  membership.addEventListener("ended", ({detail}) => told.push(`ended ${detail.code} ${detail.closeCode}`));
}

const latest = () => FakeSocket.all.at(-1);
const joinOf = (socket) => socket.sent.filter(({event}) => event === "join:room").at(-1);

/** Time stands still but for `tick`, and each random wait is half of its range. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout", "setInterval", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  t.after(() => membership.close());
}

function letIn(socket, number, data = {}) {
  const joined = {peerId: "me", peers: [], resumed: number > 1, resumeToken: `resume-${number}`, resumeWindow: 30, ...data};
  socket.say("room:joined", joined, joinOf(socket).id);
}

async function joined(t) {
  freeze(t);
  const joining = membership.join("ABC123");
  await settled();
  latest().open();
  await settled();
  letIn(latest(), 1);
  await joining;
  return latest();
}

/** Let the wait pass, and the socket that is opened then be open. */
async function comesBack(t, wait) {
  const before = FakeSocket.all.length;
  t.mock.timers.tick(wait);
  await settled();
  assert.equal(FakeSocket.all.length, before + 1, "another socket is tried");
  latest().open();
  await settled();
  return latest();
}

test("the first join asks for a place that outlives the socket, and keeps what it is given", async (t) => {
  const socket = await joined(t);
  assert.deepEqual(joinOf(socket).data, {roomCode: "ABC123", resumable: true});
  assert.equal(membership.peerId, "me");
  assert.equal(membership.resumeWindow, 30);
  assert.deepEqual(told, []);
});

test("the first join is not tried twice", async (t) => {
  freeze(t);
  const joining = membership.join("ABC123");
  await settled();
  latest().end(1006);
  await assert.rejects(joining, {code: "closed", closeCode: 1006});
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(told, []);
});

for (const code of [1001, 1006, 1012, 4408, 4500, 4503, 4508]) {
  test(`after a close with ${code} the same place is asked for and given`, async (t) => {
    const socket = await joined(t);
    socket.end(code);
    assert.deepEqual(told, ["away"]);
    const next = await comesBack(t, 500);
    assert.deepEqual(joinOf(next).data, {roomCode: "ABC123", resumable: true, resumeToken: "resume-1"});
    letIn(next, 2);
    assert.deepEqual(told, ["away", "back"]);
    assert.equal(membership.peerId, "me");
  });
}

for (const code of [1000, 4400, 4401, 4403, 4409, 4410, 4429]) {
  test(`after a close with ${code} nothing is tried`, async (t) => {
    const socket = await joined(t);
    socket.end(code);
    t.mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 1);
    assert.deepEqual(told, [`ended closed ${code}`]);
  });
}

test("each resume is asked for with the token of the one before", async (t) => {
  (await joined(t)).end(1006);
  const second = await comesBack(t, 500);
  letIn(second, 2);
  t.mock.timers.tick(10_000);
  second.end(4503);
  const third = await comesBack(t, 500);
  assert.equal(joinOf(third).data.resumeToken, "resume-2");
});

test("attempts go on as long as nobody answers, and the wait grows", async (t) => {
  (await joined(t)).end(1006);
  for (const wait of [500, 1_000, 2_000, 4_000, 7_000, 7_000]) {
    t.mock.timers.tick(wait - 1);
    const before = FakeSocket.all.length;
    await settled();
    t.mock.timers.tick(1);
    await settled();
    assert.equal(FakeSocket.all.length, before + 1);
    latest().end(1006);
    await settled();
  }
  assert.deepEqual(told, ["away"]);
});

test("online skips the wait", async (t) => {
  (await joined(t)).end(1006);
  page.window.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(FakeSocket.all.length, 2);
});

test("the late close of an old socket does nothing", async (t) => {
  const old = await joined(t);
  t.mock.timers.tick(60_000); // nothing was heard: the client gives the socket up before the browser does
  assert.deepEqual(told, ["away"]);
  const next = await comesBack(t, 500);
  letIn(next, 2);
  old.end(1006);
  assert.deepEqual(told, ["away", "back"]);
  assert.equal(client.connected, true);
  t.mock.timers.tick(15_000);
  assert.equal(FakeSocket.all.length, 2);
});

test("what an attempt reports that a hint has overtaken does nothing", async (t) => {
  (await joined(t)).end(1006);
  t.mock.timers.tick(500);
  await settled();
  const first = latest();
  first.end(1006);
  page.window.dispatchEvent(new Event("online"));
  await settled();
  const second = latest();
  assert.notEqual(first, second);
  second.open();
  await settled();
  first.end(4403);
  letIn(second, 2);
  assert.deepEqual(told, ["away", "back"]);
});

test("a socket that closes as soon as it is open is a loss and no refusal", async (t) => {
  (await joined(t)).end(1006);
  t.mock.timers.tick(500);
  await settled();
  const next = latest();
  next.open();
  next.readyState = 2; // the close frame is here, and its event is not
  await settled();
  assert.deepEqual(told, ["away"]);
  next.end(4503);
  await comesBack(t, 1_000);
  assert.deepEqual(told, ["away"]);
});

for (const code of ["resume_expired", "resume_invalid"]) {
  test(`after ${code} we join anew, on the same socket and as another peer`, async (t) => {
    (await joined(t)).end(1006);
    const next = await comesBack(t, 500);
    next.say("error", {code, message: "gone"}, joinOf(next).id);
    await settled();
    assert.equal(latest(), next);
    assert.equal(joinOf(next).data.resumeToken, undefined);
    letIn(next, 2, {peerId: "me-2", resumed: false});
    assert.deepEqual(told, ["away", "anew"]);
    assert.equal(membership.peerId, "me-2");
  });
}

test("a server that gives no token is joined anew", async (t) => {
  freeze(t);
  const joining = membership.join("ABC123");
  await settled();
  latest().open();
  await settled();
  letIn(latest(), 1, {resumeToken: undefined, resumeWindow: undefined});
  await joining;
  latest().end(1006);
  const next = await comesBack(t, 500);
  assert.equal("resumeToken" in joinOf(next).data, false);
});

for (const code of ["room_full", "room_closed", "removed", "forbidden", "user_inactive", "rate_limited"]) {
  test(`${code} ends it, and the page is told`, async (t) => {
    (await joined(t)).end(1006);
    const next = await comesBack(t, 500);
    next.say("error", {code, message: "no", retryAfter: 3}, joinOf(next).id);
    await settled();
    assert.deepEqual(told, ["away", `ended ${code} undefined`]);
    assert.equal(next.closedWith, 1000);
    t.mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 2);
  });
}

test("who was one too many for the mesh has left, and does not come back by itself", async (t) => {
  const socket = await joined(t);
  socket.say("error", {code: "sfu_unavailable", message: "away"});
  assert.deepEqual(told, ["ended sfu_unavailable undefined"]);
  assert.equal(socket.closedWith, 1000);
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test("that a request to the SFU was refused is no end", async (t) => {
  const socket = await joined(t);
  socket.say("error", {code: "sfu_unavailable", message: "away", event: "webrtc:ice"});
  socket.say("error", {code: "peer_not_found", message: "gone"});
  assert.deepEqual(told, []);
  assert.equal(socket.closedWith, undefined);
});

test("unavailable is asked again, when the server says and on the same socket", async (t) => {
  (await joined(t)).end(1006);
  const next = await comesBack(t, 500);
  next.say("error", {code: "unavailable", message: "wait", retryAfter: 5}, joinOf(next).id);
  await settled();
  page.window.dispatchEvent(new Event("online"));
  t.mock.timers.tick(5_000); // what was asked for; the wait of the second attempt comes on top
  t.mock.timers.tick(999);
  await settled();
  const asked = () => next.sent.filter(({event}) => event === "join:room").length;
  assert.equal(asked(), 1);
  t.mock.timers.tick(1);
  await settled();
  assert.equal(asked(), 2);
  letIn(next, 2);
  assert.deepEqual(told, ["away", "back"]);
});

test("a server that restarts says when to come", async (t) => {
  const socket = await joined(t);
  socket.say("error", {code: "unavailable", message: "elsewhere", retryAfter: 2});
  socket.end(4503);
  t.mock.timers.tick(2_000);
  t.mock.timers.tick(499);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  await comesBack(t, 1);
});

test("a join that nobody answers is given up, in time for the token to be good still", async (t) => {
  (await joined(t)).end(1006);
  const silent = await comesBack(t, 500);
  t.mock.timers.tick(5_000);
  await settled();
  assert.equal(silent.closedWith, 4408);
  const next = await comesBack(t, 1_000);
  assert.equal(joinOf(next).data.resumeToken, "resume-1");
});

test("a token function is asked at each attempt", async (t) => {
  let number = 0;
  begin(async () => `token-${++number}`);
  (await joined(t)).end(1006);
  const next = await comesBack(t, 500);
  assert.equal(next.protocols[1], "bearer.token-2");
});

test("after 4401 there is one try with a new token", async (t) => {
  let token = "old";
  begin(() => token);
  const socket = await joined(t);
  token = "new";
  socket.say("error", {code: "token_expired", message: "old"});
  socket.end(4401);
  assert.deepEqual(told, ["away"]);
  const next = await comesBack(t, 500);
  assert.equal(next.protocols[1], "bearer.new");
  token = "newer";
  next.say("error", {code: "user_inactive", message: "no"});
  next.end(4401);
  await settled();
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 2);
  assert.deepEqual(told, ["away", "ended user_inactive 4401"]);
});

test("after 4401 nothing is tried with the same token", async (t) => {
  begin(() => "old");
  const socket = await joined(t);
  socket.say("error", {code: "token_revoked", message: "no"});
  socket.end(4401);
  t.mock.timers.tick(500);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(told, ["away", "ended token_revoked undefined"]);
});

test("an app that cannot give a token just now is asked again", async (t) => {
  let isReachable = true;
  begin(async () => (isReachable ? "abc" : Promise.reject(new TypeError("fetch failed"))));
  const socket = await joined(t);
  isReachable = false;
  socket.end(1006);
  t.mock.timers.tick(500);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  isReachable = true;
  letIn(await comesBack(t, 1_000), 2);
  assert.deepEqual(told, ["away", "back"]);
});

test("who leaves says so, closes with 1000 and does not come back", async (t) => {
  const socket = await joined(t);
  membership.leave();
  assert.equal(socket.sent.at(-1).event, "leave:room");
  assert.equal(socket.closedWith, 1000);
  socket.end(1000);
  t.mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(told, []);
});

test("who leaves while away does not come back either", async (t) => {
  (await joined(t)).end(1006);
  membership.leave();
  t.mock.timers.tick(60_000);
  page.window.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(told, ["away"]);
});
