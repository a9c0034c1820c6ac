import assert from "node:assert/strict";
import {test} from "node:test";
import {FirstMedia, activeTracks, hasArrived} from "../../signalling/static/signalling/rtc/first-media.js";
import {flush} from "./fakes.mjs";

const AUDIO = {kind: "audio", id: "a"};
const VIDEO = {kind: "video", id: "v"};
const report = (...entries) => new Map(entries.map((entry, index) => [index, {type: "inbound-rtp", ...entry}]));

test("video is active from its first decoded frame, audio from its first packet", () => {
  const video = {kind: "video", trackIdentifier: "v", packetsReceived: 9};
  const audio = {kind: "audio", trackIdentifier: "a"};
  assert.deepEqual(activeTracks(report({...video, framesDecoded: 0}, {...audio, packetsReceived: 0})), new Set());
  assert.deepEqual(activeTracks(report({...video, framesDecoded: 1}, {...audio, packetsReceived: 1})), new Set(["v", "a"]));
  assert.deepEqual(activeTracks(report({...audio, packetsReceived: 1, type: "outbound-rtp"})), new Set());
});

for (const [title, media, active, expected] of [
  ["a peer that sends video has arrived with its video", {audio: true, video: true}, ["v"], true],
  ["a peer that sends video has not arrived with its audio", {audio: true, video: true}, ["a"], false],
  ["a peer that sends only audio has arrived with its audio", {audio: true, video: false}, ["a"], true],
  ["a peer that sends only audio has not arrived with a video track", {audio: true, video: false}, ["v"], false],
  ["a peer that sends nothing has arrived at once", {audio: false, video: false}, [], true],
  ["a peer that reports nothing has arrived at once", {}, [], true],
  ["an unknown peer has not arrived", undefined, ["a", "v"], false],
])
  test(title, () => assert.equal(hasArrived(media, [AUDIO, VIDEO], new Set(active)), expected));

function create(t, findArrived) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const found = [];
  const firstMedia = new FirstMedia(findArrived, (id) => found.push(id));
  t.after(() => firstMedia.close());
  return {firstMedia, found};
}

test("polls for expected peers until their media arrives", async (t) => {
  const arrived = new Set();
  const polls = [];
  const {firstMedia, found} = create(t, async (ids) => (polls.push(ids), ids.filter((id) => arrived.has(id))));
  firstMedia.expect("bob");
  firstMedia.expect("carol");
  t.mock.timers.tick(200);
  await flush();
  arrived.add("bob");
  t.mock.timers.tick(300);
  await flush();
  assert.deepEqual(polls, [["bob", "carol"], ["bob", "carol"]]);
  assert.deepEqual(found, ["bob"]);
  assert.deepEqual(firstMedia.arrived, new Set(["bob"]));
  arrived.add("carol");
  for (let round = 0; round < 5; round += 1) {
    t.mock.timers.tick(2_000);
    await flush();
  }
  assert.deepEqual(polls.slice(2), [["carol"]]);
});

test("polls less and less often for a peer whose media never arrives", async (t) => {
  let polls = 0;
  const {firstMedia} = create(t, async () => ((polls += 1), []));
  firstMedia.expect("bob");
  for (let second = 0; second < 60; second += 1) {
    t.mock.timers.tick(1_000);
    await flush();
  }
  assert.ok(polls > 20 && polls < 40, String(polls));
});

test("a peer expected again has not arrived; a removed peer is not polled for", async (t) => {
  const {firstMedia, found} = create(t, async (ids) => ids);
  firstMedia.assume("bob");
  firstMedia.expect("bob");
  firstMedia.expect("carol");
  assert.equal(firstMedia.arrived.has("bob"), false);
  firstMedia.remove("carol");
  t.mock.timers.tick(200);
  await flush();
  assert.deepEqual(found, ["bob"]);
});

test("polls again if the statistics are not available", async (t) => {
  let polls = 0;
  const {firstMedia, found} = create(t, async (ids) => ((polls += 1) === 1 ? Promise.reject(new Error("closed")) : ids));
  firstMedia.expect("bob");
  t.mock.timers.tick(200);
  await flush();
  t.mock.timers.tick(300);
  await flush();
  assert.deepEqual(found, ["bob"]);
});
