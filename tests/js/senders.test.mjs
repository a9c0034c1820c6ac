import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {FakeConnection, FakeSender} from "./fakes.mjs";
import {Senders} from "../../signalling/static/signalling/rtc/senders.js";

let pc;
let senders;

beforeEach(() => {
  pc = new FakeConnection();
  senders = new Senders(pc, {stream: {}, audio: null, video: null});
});

const video = () => pc.transceivers.find(({receiver}) => receiver.track.kind === "video").sender;
const audio = () => pc.transceivers.find(({receiver}) => receiver.track.kind === "audio").sender;

test("limits video and never audio", async () => {
  senders.addAll();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
  assert.deepEqual(audio().settings, []);
});

test("a limit set before the transceivers exist is applied to them", async () => {
  senders.cap(500);
  senders.addAll();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("limits the media section that the other side has offered", async () => {
  pc.transceivers.push({mid: "0", direction: "recvonly", receiver: {track: {kind: "video"}}, sender: new FakeSender()});
  senders.cap(500);
  senders.adoptOffered();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("consecutive limits are set one after the other, and the last one applies", async () => {
  senders.addAll();
  senders.cap(500);
  await Promise.resolve().then(() => {}); // the first call is in progress
  senders.cap(300);
  await senders.cap(150);
  assert.deepEqual(video().settings, [500_000, 150_000]);
  assert.equal(video().encodings[0].maxBitrate, 150_000);
});

test("removing the limit lets the browser decide again", async () => {
  senders.addAll();
  await senders.cap(null);
  assert.deepEqual(video().settings, []);
  await senders.cap(500);
  await senders.cap(null);
  assert.equal("maxBitrate" in video().encodings[0], false);
});

test("does not set the same limit twice", async () => {
  senders.addAll();
  await senders.cap(500);
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("without an encoding there is nothing to limit until one is negotiated", async () => {
  senders.addAll();
  video().encodings = [];
  await senders.cap(500);
  assert.deepEqual(video().settings, []);
  video().encodings = [{}];
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("a replacement connection keeps the limit", async () => {
  senders.cap(500);
  const next = senders.cloneFor((pc = new FakeConnection()));
  next.addAll();
  await next.cap(next.maxKbps);
  assert.deepEqual(video().settings, [500_000]);
});

test("a connection to an SFU only sends", () => {
  new Senders(pc, {stream: {}, audio: null, video: null}, "sendonly").addAll();
  assert.deepEqual(pc.transceivers.map(({direction}) => direction), ["sendonly", "sendonly"]);
});
