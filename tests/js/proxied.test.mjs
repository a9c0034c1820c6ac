import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {FakeConnection, FakeStream, sdpOf, settled} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {ProxiedSfu} = await import("../../signalling/static/signalling/sfu/proxied.js");

const ANSWER = {type: "answer", sdp: "the SFU's"};
const line = (n) => ({candidate: `candidate:${n}`, sdpMid: "0"});

let sent;
let told;
let restarts;
let medias;
let sfu;

beforeEach(() => {
  FakeConnection.all = [];
  sent = [];
  told = [];
  restarts = 0;
  medias = {bob: {audio: true, video: true}, carol: {audio: true, video: true}};
  sfu = new ProxiedSfu({
    iceServers: [],
    media: {stream: new FakeStream(), audio: null, video: null},
    send: (target, event, data) => sent.push([target, event, data]),
    restart: () => (restarts += 1),
    mediaOf: (id) => medias[id],
  });
  sfu.addEventListener("stream", ({detail: {peerId, stream}}) => told.push(`stream ${peerId}${stream ? "" : " gone"}`));
  sfu.addEventListener("arrived", ({detail}) => told.push(`arrived ${detail}`));
});

afterEach(() => sfu.close());

const publishing = () => FakeConnection.all[0];
const receiving = (index = 1) => FakeConnection.all[index];
const theirs = (...ids) => ids.flatMap((id) => [entry(`a-${id}`, id), entry(`v-${id}`, id)]);
const entry = (mid, peerId) => ({mid, peerId, kind: mid.startsWith("a") ? "audio" : "video"});
const offers = (sdp, streams = [], connection = 1) =>
  sfu.receive("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp}, streams, connection});
const offersThem = (connection, ...ids) =>
  offers(sdpOf(...theirs(...ids).map(({mid}) => mid)) + `number ${connection}`, theirs(...ids), connection);
const answers = () => sent.filter(([, event]) => event === "webrtc:answer").map(([target, , data]) => [target, data]);

/** Time stands still but for `tick`. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return async (ms) => {
    t.mock.timers.tick(ms);
    await settled();
  };
}

test("we offer both kinds, to send alone, even without devices", async () => {
  sfu.start();
  assert.deepEqual(publishing().transceivers.map(({receiver, direction}) => [receiver.track.kind, direction]), [
    ["audio", "sendonly"],
    ["video", "sendonly"],
  ]);
  await publishing().onnegotiationneeded();
  const offer = {type: "offer", sdp: "ours"};
  assert.deepEqual(sent, [["sfu:publish", "webrtc:offer", {targetPeerId: "sfu:publish", offer}]]);
});

test("a device that is turned on later needs no negotiation", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  sfu.options.media.video = {kind: "video"};
  await sfu.replaceTrack("video");
  assert.equal(publishing().transceivers[1].sender.track, sfu.options.media.video);
  assert.equal(sent.length, 1);
});

test("the answer and the candidates of what we send find their way, early ones too", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  const early = sfu.receive("webrtc:ice", {fromPeerId: "sfu:publish", candidate: line(1)});
  const answered = sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  const late = sfu.receive("webrtc:ice", {fromPeerId: "sfu:publish", candidate: line(2)});
  await Promise.all([early, answered, late]);
  assert.deepEqual(publishing().diary, ["answer", line(1), line(2)]);
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  assert.deepEqual(publishing().diary, ["answer", line(1), line(2)], "an answer that comes twice is applied once");
});

test("our candidates go to the connection that they belong to, and so does their end", async () => {
  publishing().onicecandidate({candidate: {toJSON: () => line(1)}});
  await offersThem(1, "bob");
  receiving().onicecandidate({candidate: {toJSON: () => line(2)}});
  receiving().onicecandidate({candidate: null});
  assert.deepEqual(sent.filter(([, event]) => event === "webrtc:ice").map(([target, , data]) => [target, data]), [
    ["sfu:publish", {targetPeerId: "sfu:publish", candidate: line(1)}],
    ["sfu:subscribe", {targetPeerId: "sfu:subscribe", candidate: line(2), connection: 1}],
    ["sfu:subscribe", {targetPeerId: "sfu:subscribe", candidate: null, connection: 1}],
  ]);
});

test("what is offered is answered, and sorted by whose it is", async (t) => {
  freeze(t);
  await offersThem(1, "bob", "carol");
  const answer = {type: "answer", sdp: "ours"};
  assert.deepEqual(answers(), [["sfu:subscribe", {targetPeerId: "sfu:subscribe", answer, connection: 1}]]);
  const tracks = (id) => sfu.streams.get(id).getTracks().map(({id}) => id.split("@")[0]);
  assert.deepEqual(tracks("bob"), ["a-bob", "v-bob"]);
  assert.deepEqual(tracks("carol"), ["a-carol", "v-carol"]);
  assert.deepEqual(told, ["stream bob", "stream carol"]);
});

test("a section that nobody is named for is nobody's", async (t) => {
  freeze(t);
  await offers(sdpOf("a-bob", "v-bob", "v-none"), theirs("bob"));
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
  assert.equal(sfu.streams.get("bob").getTracks().length, 2);
});

test("candidates of what we receive wait for the offer", async (t) => {
  freeze(t);
  const offered = offersThem(1, "bob");
  const early = sfu.receive("webrtc:ice", {fromPeerId: "sfu:subscribe", candidate: line(1)});
  await Promise.all([offered, early]);
  assert.deepEqual(receiving().diary, ["offer", line(1)]);
});

test("an offer while another one is answered waits for its turn", async (t) => {
  freeze(t);
  const order = [];
  const both = Promise.all([offers(sdpOf("a-1"), [entry("a-1", "bob")]), offers(sdpOf("a-1", "a-2"), [entry("a-2", "carol")])]);
  const {setRemoteDescription, setLocalDescription} = FakeConnection.prototype;
  t.mock.method(receiving(), "setRemoteDescription", async function (offer) {
    await setRemoteDescription.call(this, offer);
    order.push("offer");
  });
  t.mock.method(receiving(), "setLocalDescription", async function () {
    await settled();
    await setLocalDescription.call(this);
    order.push("answer");
  });
  await both;
  assert.deepEqual(order, ["offer", "answer", "offer", "answer"]);
  assert.deepEqual([...sfu.streams.keys()], ["carol"]);
});

test("the same offer is answered again and applied once", async (t) => {
  freeze(t);
  await offersThem(1, "bob");
  await offersThem(1, "bob");
  assert.deepEqual(receiving().diary, ["offer"]);
  assert.equal(answers().length, 2);
  assert.deepEqual(answers()[0], answers()[1]);
  assert.deepEqual(told, ["stream bob"]);
});

test("an offer that cannot be read costs no other one", async (t) => {
  freeze(t);
  const broken = offers("broken");
  const good = offersThem(1, "bob");
  await assert.rejects(broken, /cannot be read/);
  await good;
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
});

test("who leaves is told, and who stays keeps their stream", async (t) => {
  freeze(t);
  await offersThem(1, "bob", "carol");
  const stream = sfu.streams.get("bob");
  told.length = 0;
  await offers(sdpOf("a-bob", "v-bob", "a-carol", "v-carol") + "again", theirs("bob"));
  assert.deepEqual(told, ["stream carol gone"]);
  assert.equal(sfu.streams.get("bob"), stream);
});

test("who has arrived and sends one more kind has arrived still; whose tracks are all others has not", async (t) => {
  const tick = freeze(t);
  await offers(sdpOf("a-bob"), [entry("a-bob", "bob")]);
  medias.bob = {audio: true, video: false};
  receiving().becomes("connected");
  receiving().flow("a-bob");
  await tick(200);
  await offersThem(1, "bob");
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
  await offers(sdpOf("a-bob", "v-bob", "a-2"), [entry("a-2", "bob")]);
  assert.deepEqual(sfu.arrived, new Set());
});

test("somebody has arrived when their media has, and not when their track is there", async (t) => {
  const tick = freeze(t);
  await offersThem(1, "bob", "carol");
  receiving().becomes("connected");
  receiving().flow("a-carol");
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  receiving().flow("v-bob");
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
  medias.carol = {audio: true, video: false};
  await tick(450);
  assert.deepEqual(sfu.arrived, new Set(["bob", "carol"]));
  assert.deepEqual(told.slice(2), ["arrived bob", "arrived carol"]);
});

test("who sends nothing has arrived as soon as the connection has them", async (t) => {
  const tick = freeze(t);
  medias.bob = {audio: false, video: false};
  await offersThem(1, "bob");
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  receiving().becomes("connected");
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
});

async function arrivedOn(tick, connection, index, ...ids) {
  await offersThem(connection, ...ids);
  receiving(index).becomes("connected");
  for (const id of ids) receiving(index).flow(`v-${id}`);
  await tick(200);
}

test("another connection replaces the old one for each as they arrive on it", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob", "carol");
  const before = sfu.streams.get("bob");
  told.length = 0;
  await offersThem(2, "bob", "carol");
  assert.equal(sfu.streams.get("bob"), before, "nothing has come on the new one yet");
  assert.equal(sfu.receiving, "connected");
  receiving(2).becomes("connected");
  receiving(2).flow("v-bob");
  await tick(200);
  assert.notEqual(sfu.streams.get("bob"), before);
  assert.notEqual(receiving(1).closed, true, "carol is still there alone");
  assert.deepEqual(sfu.arrived, new Set(["bob", "carol"]));
  receiving(2).flow("v-carol");
  await tick(300);
  assert.equal(receiving(1).closed, true);
  assert.deepEqual(told, ["stream bob", "arrived bob", "stream carol", "arrived carol"]);
});

test("for who does not arrive on another connection the old one is kept for ten seconds", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  await offersThem(2, "bob");
  receiving(2).becomes("connected");
  await tick(9_999);
  assert.notEqual(receiving(1).closed, true);
  await tick(1);
  assert.equal(receiving(1).closed, true);
});

test("who is not on another connection is gone", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob", "carol");
  await offersThem(2, "bob");
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
});

test("of a connection that was replaced the SFU hears nothing more", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  const late = offers(sdpOf("a-bob", "v-bob") + "once more", theirs("bob"), 1);
  const next = offersThem(2, "bob");
  await Promise.all([late, next]);
  receiving(1).onicecandidate({candidate: {toJSON: () => line("old")}});
  receiving(1).becomes("failed");
  assert.deepEqual(answers().map(([, {connection}]) => connection), [1, 2]);
  assert.ok(!sent.some(([, event]) => event === "webrtc:ice"));
  assert.equal(restarts, 0);
});

test("of three connections the middle one goes if it has carried nobody", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  const before = sfu.streams.get("bob");
  await offersThem(2, "bob");
  await offersThem(3, "bob");
  assert.deepEqual([1, 2, 3].map((index) => receiving(index).closed ?? false), [false, true, false]);
  assert.equal(sfu.streams.get("bob"), before);
});

test("what we send restarts its own ICE, at once or after a while, and the SFU restarts its own", async (t) => {
  const tick = freeze(t);
  sfu.start();
  publishing().becomes("failed");
  assert.equal(publishing().restarts, 1);
  publishing().becomes("disconnected");
  await tick(5_000);
  assert.equal(publishing().restarts, 2);
  await offersThem(1, "bob");
  receiving().becomes("failed");
  assert.equal(restarts, 1);
  assert.equal(receiving().restarts, 0);
});

test("a connection without DTLS is none", (t) => {
  freeze(t);
  sfu.start();
  publishing().iceConnectionState = "connected";
  publishing().oniceconnectionstatechange?.();
  assert.equal(sfu.publishing, "connecting");
});

test("the two states are told apart, and well is when all is connected that should be", async (t) => {
  freeze(t);
  let states = 0;
  sfu.addEventListener("state", () => (states += 1));
  sfu.start();
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connecting", "connecting", false]);
  publishing().becomes("connected");
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connected", "connecting", true]);
  await offersThem(1, "bob");
  assert.equal(sfu.isHealthy, false);
  receiving().becomes("connected");
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connected", "connected", true]);
  assert.equal(states, 2);
});

test("after a gap an offer that nobody has answered is repeated, and the SFU is asked for its own", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  sfu.recover(false);
  assert.deepEqual([sent.length, restarts], [1, 0]);
  sfu.recover(true);
  assert.deepEqual(sent[1], sent[0]);
  assert.equal(restarts, 1);
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  sfu.recover(true);
  assert.equal(sent.length, 2, "it was answered");
});

test("after the end nothing is sent and nothing is thrown", async (t) => {
  freeze(t);
  const offered = offersThem(1, "bob");
  sfu.close();
  await offered;
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  publishing().onicecandidate?.({candidate: {toJSON: () => line(1)}}); // gathered before, fired after
  assert.deepEqual(sent, []);
  assert.ok(FakeConnection.all.every(({closed}) => closed));
  assert.equal(sfu.streams.size, 0);
});
