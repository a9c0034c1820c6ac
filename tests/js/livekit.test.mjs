import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {FakeStream, settled} from "./fakes.mjs";
import {RemoteTrack, Room} from "./livekit_fake.mjs";

globalThis.MediaStream = FakeStream;
const {LiveKitSfu} = await import("../../signalling/static/signalling/sfu/livekit.js");

const MICROPHONE = {kind: "audio", id: "microphone"};
const CAMERA = {kind: "video", id: "camera"};
const CLIENT = new URL("livekit_fake.mjs", import.meta.url).href;

let sfu;
let told;
let media;

beforeEach(() => {
  Object.assign(Room, {present: [], refuses: false, last: undefined, gate: Promise.resolve()});
  told = [];
  media = {stream: new FakeStream(), audio: MICROPHONE, video: CAMERA};
  begin({client: CLIENT});
});
afterEach(() => sfu.close());

function begin(access) {
  const mediaOf = (id) => ({bob: {audio: true, video: true}, carol: {audio: true, video: false}})[id];
  sfu = new LiveKitSfu({provider: "livekit", url: "wss://sfu.example.org", token: "abc", ...access}, {media, mediaOf});
  sfu.addEventListener("stream", ({detail: {peerId, stream}}) => told.push(`stream ${peerId} ${stream?.getTracks().length ?? "gone"}`));
  sfu.addEventListener("arrived", ({detail}) => told.push(`arrived ${detail}`));
  sfu.addEventListener("state", () => told.push(sfu.publishing));
}

async function connected() {
  sfu.start();
  await untilTold("connected");
  told.length = 0;
  return Room.last;
}

/** import() takes its own time. */
async function untilTold(what) {
  for (let turn = 0; turn < 100 && !told.includes(what); turn += 1) await settled();
  assert.ok(told.includes(what), told.join());
}

/** Time stands still but for `tick`. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return async (ms) => {
    t.mock.timers.tick(ms);
    await settled();
  };
}

test("it connects where the server says, publishes what we have, and then is connected", async () => {
  sfu.start();
  assert.equal(sfu.publishing, "connecting");
  await untilTold("connected");
  assert.deepEqual(Room.last.diary, [
    ["connect", "wss://sfu.example.org", "abc"],
    ["publish", MICROPHONE, "microphone"],
    ["publish", CAMERA, "camera"],
  ]);
  assert.deepEqual(told, ["connected"]);
  assert.equal(sfu.isHealthy, true);
});

test("a device that is turned off and on is published anew, and is never stopped by it", async () => {
  const room = await connected();
  media.video = null;
  await sfu.replaceTrack("video");
  const other = {kind: "video", id: "other"};
  media.video = other;
  await sfu.replaceTrack("video");
  await sfu.replaceTrack("audio"); // muted: the track is the same
  assert.deepEqual(room.diary.slice(3), [
    ["unpublish", CAMERA, false],
    ["publish", other, "camera"],
  ]);
  assert.equal(room.options.stopLocalTrackOnUnpublish, false);
});

test("what others send is theirs, by their identity", async (t) => {
  freeze(t);
  const room = await connected();
  const [audio, video] = [new RemoteTrack("audio", "a"), new RemoteTrack("video", "v")];
  room.emit("TrackSubscribed", audio, {}, {identity: "bob"});
  room.emit("TrackSubscribed", video, {}, {identity: "bob"});
  room.emit("TrackUnsubscribed", video, {}, {identity: "bob"});
  assert.deepEqual(sfu.streams.get("bob").getTracks(), [audio.mediaStreamTrack]);
  room.emit("ParticipantDisconnected", {identity: "bob"});
  assert.equal(sfu.streams.has("bob"), false);
  assert.deepEqual(told, ["stream bob 1", "stream bob 2", "stream bob 1", "stream bob gone"]);
});

test("who is there when we come is there, with or without media", async (t) => {
  freeze(t);
  Room.present = ["bob"];
  await connected();
  assert.equal(sfu.streams.has("bob"), true);
});

test("somebody has arrived when their media has", async (t) => {
  const tick = freeze(t);
  const room = await connected();
  const tracks = {bob: new RemoteTrack("video", "v"), carol: new RemoteTrack("audio", "a")};
  for (const [identity, track] of Object.entries(tracks)) room.emit("TrackSubscribed", track, {}, {identity});
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  tracks.carol.flows = true;
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["carol"]));
});

test("it reconnects by itself, and when that is over it has failed", async () => {
  const room = await connected();
  for (const state of ["signalReconnecting", "reconnecting", "connected", "disconnected"]) room.emit("ConnectionStateChanged", state);
  assert.deepEqual(told, ["reconnecting", "connected", "failed"]);
});

test("a server that cannot be reached, and a library that is not there, are a failure and no bug", async (t) => {
  t.mock.method(console, "warn", () => {});
  Room.refuses = true;
  sfu.start();
  await untilTold("failed");
  told.length = 0;
  begin({client: `${CLIENT}.missing`});
  sfu.start();
  await untilTold("failed");
});

test("the end leaves our tracks to the mesh, and nothing is told after it", async (t) => {
  freeze(t);
  const room = await connected();
  sfu.close();
  room.emit("TrackSubscribed", new RemoteTrack("video", "v"), {}, {identity: "bob"});
  room.emit("ConnectionStateChanged", "disconnected");
  assert.deepEqual(room.diary.at(-1), ["disconnect", false]);
  assert.deepEqual(told, []);
});

test("an end while it connects is an end", async () => {
  let open;
  Room.gate = new Promise((resolve) => (open = resolve));
  sfu.start();
  for (let turn = 0; turn < 100 && !Room.last; turn += 1) await settled();
  sfu.close();
  open();
  await settled();
  assert.ok(!Room.last.diary.some(([what]) => what === "publish"));
  assert.equal(sfu.publishing, "closed");
});
