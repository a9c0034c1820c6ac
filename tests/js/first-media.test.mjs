import assert from "node:assert/strict";
import {test} from "node:test";
import {FirstMedia, activeTracks, hasArrived} from "../../signalling/static/signalling/rtc/first-media.js";
import {settled} from "./fakes.mjs";

const AUDIO = {kind: "audio", id: "a"};
const VIDEO = {kind: "video", id: "v"};
const report = (...entries) => new Map(entries.map((entry, index) => [index, {type: "inbound-rtp", ...entry}]));

test("video flows with its first decoded frame, audio with its first packet", () => {
  const video = {kind: "video", trackIdentifier: "v", packetsReceived: 9};
  const audio = {kind: "audio", trackIdentifier: "a"};
  assert.deepEqual(activeTracks(report({...video, framesDecoded: 0}, {...audio, packetsReceived: 0})), new Set());
  assert.deepEqual(activeTracks(report({...video, framesDecoded: 1}, {...audio, packetsReceived: 1})), new Set(["v", "a"]));
  assert.deepEqual(activeTracks(report({...audio, packetsReceived: 1, type: "outbound-rtp"})), new Set());
});

for (const [what, media, flows, expected] of [
  ["who sends video has arrived with the video", {audio: true, video: true}, ["v"], true],
  ["and not with the sound alone", {audio: true, video: true}, ["a"], false],
  ["who sends audio alone has arrived with it", {audio: true, video: false}, ["a"], true],
  ["and not with a track of the other kind", {audio: true, video: false}, ["v"], false],
  ["who sends nothing is there as soon as the tracks are", {audio: false, video: false}, [], true],
  ["so is who says nothing", {}, [], true],
  ["of somebody unknown nothing has arrived", undefined, ["a", "v"], false],
])
  test(what, () => assert.equal(hasArrived(media, [AUDIO, VIDEO], new Set(flows)), expected));

function watched(t, look) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const found = [];
  const firstMedia = new FirstMedia(look, (id) => found.push(id));
  t.after(() => firstMedia.close());
  return {firstMedia, found};
}

test("those who are expected are looked for until they are found, and no longer", async (t) => {
  const there = new Set();
  const looks = [];
  const {firstMedia, found} = watched(t, async (ids) => (looks.push(ids), ids.filter((id) => there.has(id))));
  firstMedia.expect("bob");
  firstMedia.expect("carol");
  t.mock.timers.tick(200);
  await settled();
  there.add("bob");
  t.mock.timers.tick(300);
  await settled();
  assert.deepEqual(looks, [["bob", "carol"], ["bob", "carol"]]);
  assert.deepEqual(found, ["bob"]);
  assert.deepEqual(firstMedia.arrived, new Set(["bob"]));
  there.add("carol");
  for (let round = 0; round < 5; round += 1) {
    t.mock.timers.tick(2_000);
    await settled();
  }
  assert.deepEqual(looks.slice(2), [["carol"]]);
});

test("one that never comes is looked for ever more seldom", async (t) => {
  let looks = 0;
  const {firstMedia} = watched(t, async () => ((looks += 1), []));
  firstMedia.expect("bob");
  for (let second = 0; second < 60; second += 1) {
    t.mock.timers.tick(1_000);
    await settled();
  }
  assert.ok(looks > 20 && looks < 40, String(looks));
});

test("who is expected anew has not arrived, and who is forgotten is not looked for", async (t) => {
  const {firstMedia, found} = watched(t, async (ids) => ids);
  firstMedia.assume("bob");
  firstMedia.expect("bob");
  firstMedia.expect("carol");
  assert.equal(firstMedia.arrived.has("bob"), false);
  firstMedia.remove("carol");
  t.mock.timers.tick(200);
  await settled();
  assert.deepEqual(found, ["bob"]);
});

test("statistics that cannot be had are looked for again", async (t) => {
  let looks = 0;
  const {firstMedia, found} = watched(t, async (ids) => ((looks += 1) === 1 ? Promise.reject(new Error("closed")) : ids));
  firstMedia.expect("bob");
  t.mock.timers.tick(200);
  await settled();
  t.mock.timers.tick(300);
  await settled();
  assert.deepEqual(found, ["bob"]);
});
