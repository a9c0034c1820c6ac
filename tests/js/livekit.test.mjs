import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";
import {FakeStream, flush} from "./fakes.mjs";
import {RemoteTrack, Room} from "./livekit_fake.mjs";

globalThis.MediaStream = FakeStream;
const {LiveKitSfu} = await import("../../signalling/static/signalling/sfu/livekit.js");

const MICROPHONE = {kind: "audio", id: "microphone"};
const CAMERA = {kind: "video", id: "camera"};
const CLIENT = new URL("livekit_fake.mjs", import.meta.url).href;

let sfu;
let events;
let media;

beforeEach(() => {
  Object.assign(Room, {present: [], isRefusing: false, last: undefined, gate: Promise.resolve()});
  events = [];
  media = {stream: new FakeStream(), audio: MICROPHONE, video: CAMERA};
  create({client: CLIENT});
});
afterEach(() => sfu.close());

function create(access) {
  const mediaOf = (id) => ({bob: {audio: true, video: true}, carol: {audio: true, video: false}})[id];
  sfu = new LiveKitSfu({provider: "livekit", url: "wss://sfu.example.org", token: "abc", ...access}, {media, mediaOf});
  sfu.addEventListener("stream", ({detail: {peerId, stream}}) => events.push(`stream ${peerId} ${stream?.getTracks().length ?? "gone"}`));
  sfu.addEventListener("arrived", ({detail}) => events.push(`arrived ${detail}`));
  sfu.addEventListener("state", () => events.push(sfu.publishing));
}

async function connected() {
  sfu.start();
  await untilEvent("connected");
  events.length = 0;
  return Room.last;
}

/** Wait for an event. import() needs several turns of the event loop. */
async function untilEvent(event) {
  for (let turn = 0; turn < 100 && !events.includes(event); turn += 1) await flush();
  assert.ok(events.includes(event), events.join());
}

/** Stop the clock; `tick` advances it. */
function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return async (ms) => {
    t.mock.timers.tick(ms);
    await flush();
  };
}

test("connects to the URL from the server, publishes the tracks, then reports that it is connected", async () => {
  sfu.start();
  assert.equal(sfu.publishing, "connecting");
  await untilEvent("connected");
  assert.deepEqual(Room.last.calls, [
    ["connect", "wss://sfu.example.org", "abc"],
    ["publish", MICROPHONE, "microphone"],
    ["publish", CAMERA, "camera"],
  ]);
  assert.deepEqual(events, ["connected"]);
  assert.equal(sfu.isHealthy, true);
});

test("publishes a device again after it was off, and never stops our tracks", async () => {
  const room = await connected();
  media.video = null;
  await sfu.replaceTrack("video");
  const other = {kind: "video", id: "other"};
  media.video = other;
  await sfu.replaceTrack("video");
  await sfu.replaceTrack("audio"); // muted: the track has not changed
  assert.deepEqual(room.calls.slice(3), [
    ["unpublish", CAMERA, false],
    ["publish", other, "camera"],
  ]);
  assert.equal(room.options.stopLocalTrackOnUnpublish, false);
});

test("assigns tracks to peers by their identity", async (t) => {
  freeze(t);
  const room = await connected();
  const [audio, video] = [new RemoteTrack("audio", "a"), new RemoteTrack("video", "v")];
  room.emit("TrackSubscribed", audio, {}, {identity: "bob"});
  room.emit("TrackSubscribed", video, {}, {identity: "bob"});
  room.emit("TrackUnsubscribed", video, {}, {identity: "bob"});
  assert.deepEqual(sfu.streams.get("bob").getTracks(), [audio.mediaStreamTrack]);
  room.emit("ParticipantDisconnected", {identity: "bob"});
  assert.equal(sfu.streams.has("bob"), false);
  assert.deepEqual(events, ["stream bob 1", "stream bob 2", "stream bob 1", "stream bob gone"]);
});

test("knows the peers that joined before us, even without media", async (t) => {
  freeze(t);
  Room.present = ["bob"];
  await connected();
  assert.equal(sfu.streams.has("bob"), true);
});

test("a peer has arrived when its media has", async (t) => {
  const tick = freeze(t);
  const room = await connected();
  const tracks = {bob: new RemoteTrack("video", "v"), carol: new RemoteTrack("audio", "a")};
  for (const [identity, track] of Object.entries(tracks)) room.emit("TrackSubscribed", track, {}, {identity});
  await tick(200);
  assert.deepEqual(sfu.arrived, new Set());
  tracks.carol.isActive = true;
  await tick(300);
  assert.deepEqual(sfu.arrived, new Set(["carol"]));
});

test("reports reconnections, and a failure when LiveKit gives up", async () => {
  const room = await connected();
  for (const state of ["signalReconnecting", "reconnecting", "connected", "disconnected"]) room.emit("ConnectionStateChanged", state);
  assert.deepEqual(events, ["reconnecting", "connected", "failed"]);
});

test("an unreachable server or a missing library is a failure and throws nothing", async (t) => {
  t.mock.method(console, "warn", () => {});
  Room.isRefusing = true;
  sfu.start();
  await untilEvent("failed");
  events.length = 0;
  create({client: `${CLIENT}.missing`});
  sfu.start();
  await untilEvent("failed");
});

test("close() keeps our tracks, and no events follow", async (t) => {
  freeze(t);
  const room = await connected();
  sfu.close();
  room.emit("TrackSubscribed", new RemoteTrack("video", "v"), {}, {identity: "bob"});
  room.emit("ConnectionStateChanged", "disconnected");
  assert.deepEqual(room.calls.at(-1), ["disconnect", false]);
  assert.deepEqual(events, []);
});

test("close() while connecting publishes nothing", async () => {
  let open;
  Room.gate = new Promise((resolve) => (open = resolve));
  sfu.start();
  for (let turn = 0; turn < 100 && !Room.last; turn += 1) await flush();
  sfu.close();
  open();
  await flush();
  assert.ok(!Room.last.calls.some(([name]) => name === "publish"));
  assert.equal(sfu.publishing, "closed");
});
