import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {FakeConnection, FakeStream} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {Peer} = await import("../../signalling/static/signalling/mesh/peer.js");
const {readCandidate} = await import("../../signalling/static/signalling/rtc/candidates.js");

let sent;
let pc;

beforeEach(() => {
  sent = [];
});

function peerThatIs(polite) {
  const media = {stream: new MediaStream(), audio: null, video: null};
  const peer = new Peer({id: "bob", polite, media, send: (event, data) => sent.push([event, data])});
  pc = FakeConnection.last;
  return peer;
}

const offer = {type: "offer", sdp: "theirs"};
const answer = {type: "answer", sdp: "theirs"};
const line = (n) => ({candidate: `candidate:${n}`, sdpMid: "0"});

test("an offer is answered to the peer that made it", async () => {
  const peer = peerThatIs(false);
  await peer.receiveDescription(offer);
  assert.deepEqual(sent, [["webrtc:answer", {targetPeerId: "bob", answer: {type: "answer", sdp: "ours"}}]]);
});

test("candidates that come before the description wait for it and keep their order", async () => {
  const peer = peerThatIs(false);
  await peer.receiveCandidate(line(1));
  const describing = peer.receiveDescription(offer);
  await peer.receiveCandidate(line(2));
  await describing;
  await peer.receiveCandidate(line(3));
  assert.deepEqual(pc.diary, ["offer", line(1), line(2), line(3)]);
});

test("both kinds are offered at once even without devices", async () => {
  const peer = peerThatIs(true);
  peer.start();
  assert.deepEqual(pc.transceivers.map(({receiver, direction}) => [receiver.track.kind, direction]), [
    ["audio", "sendrecv"],
    ["video", "sendrecv"],
  ]);
  await pc.onnegotiationneeded();
  assert.deepEqual(sent, [["webrtc:offer", {targetPeerId: "bob", offer: {type: "offer", sdp: "ours"}}]]);
});

test("when offers collide the impolite side ignores the other's, with its candidates", async () => {
  const peer = peerThatIs(false);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveCandidate(line("of the ignored offer"));
  await peer.receiveDescription(answer);
  assert.deepEqual(pc.diary, ["answer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer"]);
});

test("when first offers collide the polite side begins again with a new connection", async () => {
  const peer = peerThatIs(true);
  const first = pc;
  await first.onnegotiationneeded();
  await peer.receiveDescription(offer);
  assert.equal(first.closed, true);
  assert.notEqual(peer.pc, first);
  assert.deepEqual(peer.pc.diary, ["offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer", "webrtc:answer"]);
});

test("an offer that is not ready when the other's comes is never sent", async () => {
  const peer = peerThatIs(true);
  const offering = pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await offering;
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer"]);
});

test("when later offers collide the polite side rolls its own back", async () => {
  const peer = peerThatIs(true);
  await peer.receiveDescription(offer);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  assert.equal(peer.pc, pc);
  assert.deepEqual(pc.diary, ["offer", "offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer", "webrtc:offer", "webrtc:answer"]);
});

test("the answer to an offer that was given up is dropped", async () => {
  const peer = peerThatIs(true);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveDescription(answer);
  assert.deepEqual(peer.pc.diary, ["offer"]);
});

test("an offer while our answer is being applied is no collision", async () => {
  const peer = peerThatIs(false);
  await pc.onnegotiationneeded();
  const applying = peer.receiveDescription(answer);
  await peer.receiveDescription(offer);
  await applying;
  assert.deepEqual(pc.diary, ["answer", "offer"]);
});

test("a candidate that cannot be added is an error, unless its offer was ignored", async () => {
  const peer = peerThatIs(false);
  await peer.receiveDescription(offer);
  await assert.rejects(peer.receiveCandidate({candidate: "broken"}), /OperationError/);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveCandidate({candidate: "broken"});
});

test("the whole candidate is sent, and the end of gathering is not", () => {
  peerThatIs(true);
  pc.onicecandidate({candidate: {toJSON: () => line(1)}});
  pc.onicecandidate({candidate: null});
  assert.deepEqual(sent, [["webrtc:ice", {targetPeerId: "bob", candidate: line(1)}]]);
});

test("what a seed-style client sends as candidate can be added", () => {
  assert.deepEqual(readCandidate("candidate:1"), {candidate: "candidate:1", sdpMLineIndex: 0});
  assert.deepEqual(readCandidate(""), {candidate: ""});
  assert.deepEqual(readCandidate(null), {candidate: ""});
  assert.deepEqual(readCandidate(line(1)), line(1));
});

test("a failed connection restarts ICE at once, an interrupted one after a while", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = peerThatIs(true);
  pc.becomes("disconnected");
  assert.equal(peer.state, "reconnecting");
  t.mock.timers.tick(4_999);
  assert.equal(pc.restarts, 0);
  t.mock.timers.tick(1);
  assert.equal(pc.restarts, 1);
  pc.becomes("failed");
  assert.equal(pc.restarts, 2);
  assert.equal(peer.state, "failed");
});

test("an interruption that mends itself restarts nothing", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = peerThatIs(true);
  pc.becomes("disconnected");
  pc.becomes("connected");
  t.mock.timers.tick(60_000);
  assert.equal(pc.restarts, 0);
  assert.equal(peer.state, "connected");
});

test("a newcomer that does not offer is offered to", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  peerThatIs(false).waitForOffer();
  assert.equal(pc.transceivers.length, 0);
  t.mock.timers.tick(4_000);
  assert.equal(pc.transceivers.length, 2);
});

test("a newcomer that offers in time is not", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = peerThatIs(false);
  peer.waitForOffer();
  await peer.receiveDescription(offer);
  t.mock.timers.tick(4_000);
  assert.equal(pc.transceivers.length, 0);
});

test("signalling that was away for a while restarts nothing that works", async () => {
  const peer = peerThatIs(true);
  await peer.receiveDescription(offer);
  for (const state of ["connected", "completed", "checking", "new"]) {
    pc.becomes(state);
    peer.recover(false);
  }
  assert.equal(pc.restarts, 0);
  assert.notEqual(pc.closed, true);
});

test("a connection that broke meanwhile is restarted when signalling is back", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = peerThatIs(true);
  await peer.receiveDescription(offer);
  pc.becomes("disconnected");
  peer.recover(false);
  assert.equal(pc.restarts, 1);
  t.mock.timers.tick(60_000);
  assert.equal(pc.restarts, 1, "its patience is over with it");
});

test("a restart that waits for its answer is not begun once more", async () => {
  const peer = peerThatIs(true);
  await peer.receiveDescription(offer);
  pc.becomes("failed");
  await pc.onnegotiationneeded();
  peer.recover(false);
  assert.equal(pc.restarts, 1);
});

test("after a gap every connection is negotiated again", async () => {
  const peer = peerThatIs(true);
  await peer.receiveDescription(offer);
  pc.becomes("connected");
  peer.recover(true);
  assert.equal(pc.restarts, 1);
});

test("after a gap an offer whose answer may be lost is repeated as it was", async () => {
  const peer = peerThatIs(false);
  await pc.onnegotiationneeded();
  peer.recover(true);
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[1], sent[0]);
});

test("after a gap nobody waits for a first offer that may be lost", () => {
  const peer = peerThatIs(false);
  peer.waitForOffer();
  peer.recover(true);
  assert.equal(pc.transceivers.length, 2);
  assert.equal(pc.restarts, 0);
});

test("an offer is repeated only while nobody has answered it", async () => {
  const peer = peerThatIs(false);
  peer.repeatOffer();
  assert.equal(sent.length, 0);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(answer);
  peer.repeatOffer();
  assert.equal(sent.length, 1);
});

test("an offer that was given up is not repeated", async () => {
  const peer = peerThatIs(true);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  peer.repeatOffer();
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer", "webrtc:answer"]);
});

test("an offer that comes twice is answered twice and applied once", async () => {
  const peer = peerThatIs(false);
  await peer.receiveDescription(offer);
  await peer.receiveDescription(offer);
  assert.deepEqual(pc.diary, ["offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer", "webrtc:answer"]);
});

test("another offer is applied", async () => {
  const peer = peerThatIs(false);
  await peer.receiveDescription(offer);
  await peer.receiveDescription({type: "offer", sdp: "another"});
  assert.deepEqual(pc.diary, ["offer", "offer"]);
});
