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

test("video is capped, and audio never", async () => {
  senders.addAll();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
  assert.deepEqual(audio().settings, []);
});

test("a cap that was set before there was anything to cap holds", async () => {
  senders.cap(500);
  senders.addAll();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("the media section that the other side has offered is capped", async () => {
  pc.transceivers.push({mid: "0", direction: "recvonly", receiver: {track: {kind: "video"}}, sender: new FakeSender()});
  senders.cap(500);
  senders.adoptOffered();
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("caps that follow each other are set one after the other, and the last one counts", async () => {
  senders.addAll();
  senders.cap(500);
  await Promise.resolve().then(() => {}); // the first is on its way
  senders.cap(300);
  await senders.cap(150);
  assert.deepEqual(video().settings, [500_000, 150_000]);
  assert.equal(video().encodings[0].maxBitrate, 150_000);
});

test("without a cap the browser sends what it wants, again too", async () => {
  senders.addAll();
  await senders.cap(null);
  assert.deepEqual(video().settings, []);
  await senders.cap(500);
  await senders.cap(null);
  assert.equal("maxBitrate" in video().encodings[0], false);
});

test("the same cap is not set twice", async () => {
  senders.addAll();
  await senders.cap(500);
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("where nothing is negotiated yet there is nothing to cap; later there is", async () => {
  senders.addAll();
  video().encodings = [];
  await senders.cap(500);
  assert.deepEqual(video().settings, []);
  video().encodings = [{}];
  await senders.cap(500);
  assert.deepEqual(video().settings, [500_000]);
});

test("the connection that replaces another has its cap", async () => {
  senders.cap(500);
  const next = senders.cloneFor((pc = new FakeConnection()));
  next.addAll();
  await next.cap(next.maxKbps);
  assert.deepEqual(video().settings, [500_000]);
});

test("a connection to an SFU sends alone", () => {
  new Senders(pc, {stream: {}, audio: null, video: null}, "sendonly").addAll();
  assert.deepEqual(pc.transceivers.map(({direction}) => direction), ["sendonly", "sendonly"]);
});
