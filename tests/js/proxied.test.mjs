import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {FakeConnection, FakeStream, sdpOf, flush} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {ProxiedSfu} = await import("../../signalling/static/signalling/sfu/proxied.js");

const ANSWER = {type: "answer", sdp: "the SFU's"};
const candidateInit = (n) => ({candidate: `candidate:${n}`, sdpMid: "0"});

let sent;
let events;
let restarts;
let medias;
let sfu;

beforeEach(() => {
  FakeConnection.all = [];
  sent = [];
  events = [];
  restarts = 0;
  medias = {bob: {audio: true, video: true}, carol: {audio: true, video: true}};
  sfu = new ProxiedSfu({
    iceServers: [],
    media: {stream: new FakeStream(), audio: null, video: null},
    send: (target, event, data) => sent.push([target, event, data]),
    restart: () => (restarts += 1),
    mediaOf: (id) => medias[id],
  });
  sfu.addEventListener("stream", ({detail: {peerId, stream}}) => events.push(`stream ${peerId}${stream ? "" : " gone"}`));
  sfu.addEventListener("arrived", ({detail}) => events.push(`arrived ${detail}`));
});

afterEach(() => sfu.close());

const publishing = () => FakeConnection.all[0];
const receiving = (index = 1) => FakeConnection.all[index];
const streamsOf = (...ids) => ids.flatMap((id) => [entry(`a-${id}`, id), entry(`v-${id}`, id)]);
const entry = (mid, peerId) => ({mid, peerId, kind: mid.startsWith("a") ? "audio" : "video"});
const offer = (sdp, streams = [], connection = 1) =>
  sfu.receive("webrtc:offer", {fromPeerId: "sfu:subscribe", offer: {type: "offer", sdp}, streams, connection});
const offerPeers = (connection, ...ids) =>
  offer(sdpOf(...streamsOf(...ids).map(({mid}) => mid)) + `number ${connection}`, streamsOf(...ids), connection);
const answers = () => sent.filter(([, event]) => event === "webrtc:answer").map(([target, , data]) => [target, data]);

/** Stop the clock; `tick` advances it. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return async (ms) => {
    t.mock.timers.tick(ms);
    await flush();
  };
}

test("offers both kinds as sendonly, even without devices", async () => {
  sfu.start();
  assert.deepEqual(publishing().transceivers.map(({receiver, direction}) => [receiver.track.kind, direction]), [
    ["audio", "sendonly"],
    ["video", "sendonly"],
  ]);
  await publishing().onnegotiationneeded();
  const offer = {type: "offer", sdp: "ours"};
  assert.deepEqual(sent, [["sfu:publish", "webrtc:offer", {targetPeerId: "sfu:publish", offer}]]);
});

test("turning a device on needs no negotiation", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  sfu.options.media.video = {kind: "video"};
  await sfu.replaceTrack("video");
  assert.equal(publishing().transceivers[1].sender.track, sfu.options.media.video);
  assert.equal(sent.length, 1);
});

test("the publisher applies its answer and candidates, including early ones", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  const early = sfu.receive("webrtc:ice", {fromPeerId: "sfu:publish", candidate: candidateInit(1)});
  const answered = sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  const late = sfu.receive("webrtc:ice", {fromPeerId: "sfu:publish", candidate: candidateInit(2)});
  await Promise.all([early, answered, late]);
  assert.deepEqual(publishing().calls, ["answer", candidateInit(1), candidateInit(2)]);
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  assert.deepEqual(publishing().calls, ["answer", candidateInit(1), candidateInit(2)], "a duplicate answer is ignored");
});

test("sends candidates and their end with the address of their connection", async () => {
  publishing().onicecandidate({candidate: {toJSON: () => candidateInit(1)}});
  await offerPeers(1, "bob");
  receiving().onicecandidate({candidate: {toJSON: () => candidateInit(2)}});
  receiving().onicecandidate({candidate: null});
  assert.deepEqual(sent.filter(([, event]) => event === "webrtc:ice").map(([target, , data]) => [target, data]), [
    ["sfu:publish", {targetPeerId: "sfu:publish", candidate: candidateInit(1)}],
    ["sfu:subscribe", {targetPeerId: "sfu:subscribe", candidate: candidateInit(2), connection: 1}],
    ["sfu:subscribe", {targetPeerId: "sfu:subscribe", candidate: null, connection: 1}],
  ]);
});

test("answers an offer and assigns its tracks to peers", async (t) => {
  freeze(t);
  await offerPeers(1, "bob", "carol");
  const answer = {type: "answer", sdp: "ours"};
  assert.deepEqual(answers(), [["sfu:subscribe", {targetPeerId: "sfu:subscribe", answer, connection: 1}]]);
  const tracks = (id) => sfu.streams.get(id).getTracks().map(({id}) => id.split("@")[0]);
  assert.deepEqual(tracks("bob"), ["a-bob", "v-bob"]);
  assert.deepEqual(tracks("carol"), ["a-carol", "v-carol"]);
  assert.deepEqual(events, ["stream bob", "stream carol"]);
});

test("ignores media sections without a peer", async (t) => {
  freeze(t);
  await offer(sdpOf("a-bob", "v-bob", "v-none"), streamsOf("bob"));
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
  assert.equal(sfu.streams.get("bob").getTracks().length, 2);
});

test("candidates of the subscription wait for its offer", async (t) => {
  freeze(t);
  const offered = offerPeers(1, "bob");
  const early = sfu.receive("webrtc:ice", {fromPeerId: "sfu:subscribe", candidate: candidateInit(1)});
  await Promise.all([offered, early]);
  assert.deepEqual(receiving().calls, ["offer", candidateInit(1)]);
});

test("handles offers one after the other", async (t) => {
  freeze(t);
  const order = [];
  const both = Promise.all([offer(sdpOf("a-1"), [entry("a-1", "bob")]), offer(sdpOf("a-1", "a-2"), [entry("a-2", "carol")])]);
  const {setRemoteDescription, setLocalDescription} = FakeConnection.prototype;
  t.mock.method(receiving(), "setRemoteDescription", async function (offer) {
    await setRemoteDescription.call(this, offer);
    order.push("offer");
  });
  t.mock.method(receiving(), "setLocalDescription", async function () {
    await flush();
    await setLocalDescription.call(this);
    order.push("answer");
  });
  await both;
  assert.deepEqual(order, ["offer", "answer", "offer", "answer"]);
  assert.deepEqual([...sfu.streams.keys()], ["carol"]);
});

test("answers a repeated offer again without applying it", async (t) => {
  freeze(t);
  await offerPeers(1, "bob");
  await offerPeers(1, "bob");
  assert.deepEqual(receiving().calls, ["offer"]);
  assert.equal(answers().length, 2);
  assert.deepEqual(answers()[0], answers()[1]);
  assert.deepEqual(events, ["stream bob"]);
});

test("an invalid offer does not affect the next one", async (t) => {
  freeze(t);
  const broken = offer("broken");
  const good = offerPeers(1, "bob");
  await assert.rejects(broken, /cannot be read/);
  await good;
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
});

test("reports peers that leave, and keeps the streams of the others", async (t) => {
  freeze(t);
  await offerPeers(1, "bob", "carol");
  const stream = sfu.streams.get("bob");
  events.length = 0;
  await offer(sdpOf("a-bob", "v-bob", "a-carol", "v-carol") + "again", streamsOf("bob"));
  assert.deepEqual(events, ["stream carol gone"]);
  assert.equal(sfu.streams.get("bob"), stream);
});

test("a peer that adds a track stays arrived; one whose tracks are all replaced does not", async (t) => {
  const tick = freeze(t);
  await offer(sdpOf("a-bob"), [entry("a-bob", "bob")]);
  medias.bob = {audio: true, video: false};
  receiving().setState("connected");
  receiving().receiveMedia("a-bob");
  await tick(200);
  await offerPeers(1, "bob");
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
  await offer(sdpOf("a-bob", "v-bob", "a-2"), [entry("a-2", "bob")]);
  assert.deepEqual(sfu.arrived, new Set());
});

test("a peer has arrived when its media has, not when its track exists", async (t) => {
  const tick = freeze(t);
  await offerPeers(1, "bob", "carol");
  receiving().setState("connected");
  receiving().receiveMedia("a-carol");
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  receiving().receiveMedia("v-bob");
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
  medias.carol = {audio: true, video: false};
  await tick(450);
  assert.deepEqual(sfu.arrived, new Set(["bob", "carol"]));
  assert.deepEqual(events.slice(2), ["arrived bob", "arrived carol"]);
});

test("a peer that sends nothing has arrived once the connection is up", async (t) => {
  const tick = freeze(t);
  medias.bob = {audio: false, video: false};
  await offerPeers(1, "bob");
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  receiving().setState("connected");
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["bob"]));
});

async function arrivedOn(tick, connection, index, ...ids) {
  await offerPeers(connection, ...ids);
  receiving(index).setState("connected");
  for (const id of ids) receiving(index).receiveMedia(`v-${id}`);
  await tick(200);
}

test("another connection replaces the previous one, peer by peer", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob", "carol");
  const before = sfu.streams.get("bob");
  events.length = 0;
  await offerPeers(2, "bob", "carol");
  assert.equal(sfu.streams.get("bob"), before, "no media has arrived on the new one");
  assert.equal(sfu.receiving, "connected");
  receiving(2).setState("connected");
  receiving(2).receiveMedia("v-bob");
  await tick(200);
  assert.notEqual(sfu.streams.get("bob"), before);
  assert.notEqual(receiving(1).closed, true, "carol is still shown from it");
  assert.deepEqual(sfu.arrived, new Set(["bob", "carol"]));
  receiving(2).receiveMedia("v-carol");
  await tick(300);
  assert.equal(receiving(1).closed, true);
  assert.deepEqual(events, ["stream bob", "arrived bob", "stream carol", "arrived carol"]);
});

test("keeps the previous connection for 10 s for peers that do not arrive on the new one", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  await offerPeers(2, "bob");
  receiving(2).setState("connected");
  await tick(9_999);
  assert.notEqual(receiving(1).closed, true);
  await tick(1);
  assert.equal(receiving(1).closed, true);
});

test("removes peers that are not on the new connection", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob", "carol");
  await offerPeers(2, "bob");
  assert.deepEqual([...sfu.streams.keys()], ["bob"]);
});

test("sends nothing from a replaced connection", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  const late = offer(sdpOf("a-bob", "v-bob") + "once more", streamsOf("bob"), 1);
  const next = offerPeers(2, "bob");
  await Promise.all([late, next]);
  receiving(1).onicecandidate({candidate: {toJSON: () => candidateInit("old")}});
  receiving(1).setState("failed");
  assert.deepEqual(answers().map(([, {connection}]) => connection), [1, 2]);
  assert.ok(!sent.some(([, event]) => event === "webrtc:ice"));
  assert.equal(restarts, 0);
});

test("closes the middle one of three connections if it carries no peer", async (t) => {
  const tick = freeze(t);
  await arrivedOn(tick, 1, 1, "bob");
  const before = sfu.streams.get("bob");
  await offerPeers(2, "bob");
  await offerPeers(3, "bob");
  assert.deepEqual([1, 2, 3].map((index) => receiving(index).closed ?? false), [false, true, false]);
  assert.equal(sfu.streams.get("bob"), before);
});

test("the publisher restarts its ICE itself; for the subscription the SFU is asked to", async (t) => {
  const tick = freeze(t);
  sfu.start();
  publishing().setState("failed");
  assert.equal(publishing().restarts, 1);
  publishing().setState("disconnected");
  await tick(5_000);
  assert.equal(publishing().restarts, 2);
  await offerPeers(1, "bob");
  receiving().setState("failed");
  assert.equal(restarts, 1);
  assert.equal(receiving().restarts, 0);
});

test("a connection without DTLS is not connected", (t) => {
  freeze(t);
  sfu.start();
  publishing().iceConnectionState = "connected";
  publishing().oniceconnectionstatechange?.();
  assert.equal(sfu.publishing, "connecting");
});

test("reports both states, and is healthy when everything is connected", async (t) => {
  freeze(t);
  let states = 0;
  sfu.addEventListener("state", () => (states += 1));
  sfu.start();
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connecting", "connecting", false]);
  publishing().setState("connected");
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connected", "connecting", true]);
  await offerPeers(1, "bob");
  assert.equal(sfu.isHealthy, false);
  receiving().setState("connected");
  assert.deepEqual([sfu.publishing, sfu.receiving, sfu.isHealthy], ["connected", "connected", true]);
  assert.equal(states, 2);
});

test("recover() after a gap repeats an unanswered offer and asks for one from the SFU", async () => {
  sfu.start();
  await publishing().onnegotiationneeded();
  sfu.recover(false);
  assert.deepEqual([sent.length, restarts], [1, 0]);
  sfu.recover(true);
  assert.deepEqual(sent[1], sent[0]);
  assert.equal(restarts, 1);
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  sfu.recover(true);
  assert.equal(sent.length, 2, "it has been answered");
});

test("close() sends nothing and throws nothing", async (t) => {
  freeze(t);
  const offered = offerPeers(1, "bob");
  sfu.close();
  await offered;
  await sfu.receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: ANSWER});
  publishing().onicecandidate?.({candidate: {toJSON: () => candidateInit(1)}}); // gathered before close(), fired after it
  assert.deepEqual(sent, []);
  assert.ok(FakeConnection.all.every(({closed}) => closed));
  assert.equal(sfu.streams.size, 0);
});
