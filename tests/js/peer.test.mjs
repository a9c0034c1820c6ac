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

function createPeer(polite) {
  const media = {stream: new MediaStream(), audio: null, video: null};
  const peer = new Peer({id: "bob", polite, media, send: (event, data) => sent.push([event, data])});
  pc = peer.pc;
  return peer;
}

const offer = {type: "offer", sdp: "theirs"};
const answer = {type: "answer", sdp: "theirs"};
const candidateInit = (n) => ({candidate: `candidate:${n}`, sdpMid: "0"});

test("answers an offer to its sender", async () => {
  const peer = createPeer(false);
  await peer.receiveDescription(offer);
  assert.deepEqual(sent, [["webrtc:answer", {targetPeerId: "bob", answer: {type: "answer", sdp: "ours"}}]]);
});

test("candidates that arrive before the description wait for it, in order", async () => {
  const peer = createPeer(false);
  await peer.receiveCandidate(candidateInit(1));
  const describing = peer.receiveDescription(offer);
  await peer.receiveCandidate(candidateInit(2));
  await describing;
  await peer.receiveCandidate(candidateInit(3));
  assert.deepEqual(pc.calls, ["offer", candidateInit(1), candidateInit(2), candidateInit(3)]);
});

test("offers both kinds at once, even without devices", async () => {
  const peer = createPeer(true);
  peer.start();
  assert.deepEqual(pc.transceivers.map(({receiver, direction}) => [receiver.track.kind, direction]), [
    ["audio", "sendrecv"],
    ["video", "sendrecv"],
  ]);
  await pc.onnegotiationneeded();
  assert.deepEqual(sent, [["webrtc:offer", {targetPeerId: "bob", offer: {type: "offer", sdp: "ours"}}]]);
});

test("in a collision, the impolite peer ignores the offer and its candidates", async () => {
  const peer = createPeer(false);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveCandidate(candidateInit("of the ignored offer"));
  await peer.receiveDescription(answer);
  assert.deepEqual(pc.calls, ["answer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer"]);
});

test("in a collision of first offers, the polite peer starts over with a new connection", async () => {
  const peer = createPeer(true);
  const first = pc;
  await first.onnegotiationneeded();
  await peer.receiveDescription(offer);
  assert.equal(first.closed, true);
  assert.notEqual(peer.pc, first);
  assert.deepEqual(peer.pc.calls, ["offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer", "webrtc:answer"]);
});

test("does not send an offer that another one has overtaken", async () => {
  const peer = createPeer(true);
  const offering = pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await offering;
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer"]);
});

test("in a later collision, the polite peer rolls its offer back", async () => {
  const peer = createPeer(true);
  await peer.receiveDescription(offer);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  assert.equal(peer.pc, pc);
  assert.deepEqual(pc.calls, ["offer", "offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer", "webrtc:offer", "webrtc:answer"]);
});

test("drops the answer to an abandoned offer", async () => {
  const peer = createPeer(true);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveDescription(answer);
  assert.deepEqual(peer.pc.calls, ["offer"]);
});

test("applies a provisional answer and the answer after it", async () => {
  const peer = createPeer(true);
  const pranswer = {type: "pranswer", sdp: "theirs"};
  await peer.receiveDescription(pranswer);
  await pc.onnegotiationneeded();
  for (const description of [pranswer, pranswer, answer, pranswer]) await peer.receiveDescription(description);
  assert.deepEqual(pc.calls, ["pranswer", "pranswer", "answer"]);
});

test("an offer while an answer is being applied is not a collision", async () => {
  const peer = createPeer(false);
  await pc.onnegotiationneeded();
  const applying = peer.receiveDescription(answer);
  await peer.receiveDescription(offer);
  await applying;
  assert.deepEqual(pc.calls, ["answer", "offer"]);
});

test("a candidate that cannot be added is an error unless its offer was ignored", async () => {
  const peer = createPeer(false);
  await peer.receiveDescription(offer);
  await assert.rejects(peer.receiveCandidate({candidate: "broken"}), /OperationError/);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  await peer.receiveCandidate({candidate: "broken"});
});

test("sends whole candidates, but not the end of candidates", () => {
  createPeer(true);
  pc.onicecandidate({candidate: {toJSON: () => candidateInit(1)}});
  pc.onicecandidate({candidate: null});
  assert.deepEqual(sent, [["webrtc:ice", {targetPeerId: "bob", candidate: candidateInit(1)}]]);
});

test("accepts every form of candidate", () => {
  assert.deepEqual(readCandidate("candidate:1"), {candidate: "candidate:1", sdpMLineIndex: 0});
  assert.deepEqual(readCandidate(""), {candidate: ""});
  assert.deepEqual(readCandidate(null), {candidate: ""});
  assert.deepEqual(readCandidate(candidateInit(1)), candidateInit(1));
});

test("restarts ICE at once after a failure, and after 5 s of interruption", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = createPeer(true);
  pc.setState("disconnected");
  assert.equal(peer.state, "reconnecting");
  t.mock.timers.tick(4_999);
  assert.equal(pc.restarts, 0);
  t.mock.timers.tick(1);
  assert.equal(pc.restarts, 1);
  pc.setState("failed");
  assert.equal(pc.restarts, 2);
  assert.equal(peer.state, "failed");
});

test("does not restart a connection that recovers by itself", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = createPeer(true);
  pc.setState("disconnected");
  pc.setState("connected");
  t.mock.timers.tick(60_000);
  assert.equal(pc.restarts, 0);
  assert.equal(peer.state, "connected");
});

test("sends an offer if the newcomer does not", (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  createPeer(false).waitForOffer();
  assert.equal(pc.transceivers.length, 0);
  t.mock.timers.tick(4_000);
  assert.equal(pc.transceivers.length, 2);
});

test("sends no offer if the newcomer sends one in time", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = createPeer(false);
  peer.waitForOffer();
  await peer.receiveDescription(offer);
  t.mock.timers.tick(4_000);
  assert.equal(pc.transceivers.length, 0);
});

test("recover() does not restart a working connection", async () => {
  const peer = createPeer(true);
  await peer.receiveDescription(offer);
  for (const state of ["connected", "completed", "checking", "new"]) {
    pc.setState(state);
    peer.recover(false);
  }
  assert.equal(pc.restarts, 0);
  assert.notEqual(pc.closed, true);
});

test("recover() restarts a broken connection", async (t) => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const peer = createPeer(true);
  await peer.receiveDescription(offer);
  pc.setState("disconnected");
  peer.recover(false);
  assert.equal(pc.restarts, 1);
  t.mock.timers.tick(60_000);
  assert.equal(pc.restarts, 1, "the pending restart is cancelled");
});

test("recover() does not repeat a restart that awaits its answer", async () => {
  const peer = createPeer(true);
  await peer.receiveDescription(offer);
  pc.setState("failed");
  await pc.onnegotiationneeded();
  peer.recover(false);
  assert.equal(pc.restarts, 1);
});

test("recover() negotiates again after a gap", async () => {
  const peer = createPeer(true);
  await peer.receiveDescription(offer);
  pc.setState("connected");
  peer.recover(true);
  assert.equal(pc.restarts, 1);
});

test("recover() repeats an unanswered offer after a gap", async () => {
  const peer = createPeer(false);
  await pc.onnegotiationneeded();
  peer.recover(true);
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[1], sent[0]);
});

test("recover() does not wait for a first offer after a gap", () => {
  const peer = createPeer(false);
  peer.waitForOffer();
  peer.recover(true);
  assert.equal(pc.transceivers.length, 2);
  assert.equal(pc.restarts, 0);
});

test("repeats an offer only until it is answered", async () => {
  const peer = createPeer(false);
  peer.repeatOffer();
  assert.equal(sent.length, 0);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(answer);
  peer.repeatOffer();
  assert.equal(sent.length, 1);
});

test("does not repeat an abandoned offer", async () => {
  const peer = createPeer(true);
  await pc.onnegotiationneeded();
  await peer.receiveDescription(offer);
  peer.repeatOffer();
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:offer", "webrtc:answer"]);
});

test("answers a repeated offer again without applying it", async () => {
  const peer = createPeer(false);
  await peer.receiveDescription(offer);
  await peer.receiveDescription(offer);
  assert.deepEqual(pc.calls, ["offer"]);
  assert.deepEqual(sent.map(([event]) => event), ["webrtc:answer", "webrtc:answer"]);
});

test("applies another offer", async () => {
  const peer = createPeer(false);
  await peer.receiveDescription(offer);
  await peer.receiveDescription({type: "offer", sdp: "another"});
  assert.deepEqual(pc.calls, ["offer", "offer"]);
});
