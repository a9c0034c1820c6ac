/** A room with fakes for the browser and the server, and the steps that the tests of a switch share. */
import {beforeEach} from "node:test";
import {SignallingClient} from "../../signalling/static/signalling/client/client.js";
import {FakeConnection, FakeSocket, FakeStream, sdpOf, flush} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const {Room} = await import("../../signalling/static/signalling/index.js");

export const SFU = {provider: "proxied"};
export const BOTH = {audio: true, video: true};
export const LIMITS = {p2p: 3, total: 50, meshKbps: [900, 500, 150]};

export let client;
export let room;
export let socket;
export let events;

beforeEach(() => {
  FakeSocket.all = [];
  FakeConnection.all = [];
  events = [];
  client = new SignallingClient({url: "ws://example.org/", WebSocket: FakeSocket});
  const devices = Object.assign(new EventTarget(), {stream: new FakeStream(), audio: null, video: null, state: {}});
  room = new Room(client, devices);
  room.addEventListener("lost", ({detail}) => events.push(detail ? "lost" : "available"));
  room.addEventListener("failed", ({detail}) => events.push(`failed ${detail.code}`));
});

export const entry = (id, data = {}) => ({id, userInfo: {username: id}, media: BOTH, ...data});
export const participant = (id) => room.participants.get(id);
export const paths = () => Object.fromEntries([...room.participants.values()].map(({id, path}) => [id, path]));
export const sent = (event) => socket.sent.filter((frame) => frame.event === event).map(({data}) => data);
export const reports = () => sent("sfu:state");
export const publisher = () => room.sfu.connections[0];
export const subscription = () => room.sfu.connections[1];
export const capOf = (id) => room.peers.get(id).pc.transceivers[1].sender.encodings[0].maxBitrate;

/** Stop the clock; `advance` moves it. */
export function stopClock(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  t.mock.method(console, "warn", () => {});
  t.after(() => (room.close(), client.close()));
}

export async function advance(t, ms) {
  t.mock.timers.tick(ms);
  for (let turn = 0; turn < 5; turn += 1) await flush();
}

export async function enterRoom(joined) {
  const opening = client.connect();
  socket = FakeSocket.all.at(-1);
  socket.open();
  await opening;
  await receive("room:joined", {peerId: "me", limits: LIMITS, ...joined});
}

export async function receive(event, data, id) {
  socket.deliver(event, data, id);
  for (let turn = 0; turn < 5; turn += 1) await flush();
}

/** Connect the mesh connection with a peer, and let its media arrive. */
export async function connectMesh(id) {
  const {pc} = room.peers.get(id);
  pc.ontrack({track: {kind: "video", id: `mesh-${id}`}});
  pc.active.add(`mesh-${id}`);
  if (pc.signalingState === "stable") await pc.onnegotiationneeded?.();
  pc.setState("connected");
  for (let turn = 0; turn < 5; turn += 1) await flush();
}

/** Enter a mesh with these peers, which joined before us. */
export async function enterMesh(t, ...ids) {
  stopClock(t);
  await enterRoom({mode: "p2p", modeVersion: 1, peers: ids.map((id) => entry(id))});
  for (const id of ids) await connectMesh(id);
}

export const flip = (version = 2) => receive("room:mode", {mode: "sfu", version, switching: true, reason: "room_grew", sfu: SFU});
export const commit = (version = 2) => receive("room:mode", {mode: "sfu", version, reason: "committed"});

/** Receive these peers from the SFU. */
export async function carryOnSfu(t, ...ids) {
  const mids = ids.flatMap((id) => [`a-${id}`, `v-${id}`]);
  const streams = mids.map((mid) => ({mid, peerId: mid.slice(2), kind: mid.startsWith("a") ? "audio" : "video"}));
  const offer = {type: "offer", sdp: sdpOf(...mids)};
  await receive("webrtc:offer", {fromPeerId: "sfu:subscribe", offer, streams, connection: 1});
  subscription().setState("connected");
  for (const id of ids) subscription().receiveMedia(`v-${id}`);
  await advance(t, 2_000);
}

export async function publish() {
  await publisher().onnegotiationneeded();
  await receive("webrtc:answer", {fromPeerId: "sfu:publish", answer: {type: "answer", sdp: "theirs"}});
  publisher().setState("connected");
}

/** Enter a room in SFU mode with these peers. */
export async function enterSfu(t, ...ids) {
  stopClock(t);
  await enterRoom({mode: "sfu", modeVersion: 2, sfu: SFU, peers: ids.map((id) => entry(id, {path: "sfu"}))});
  await publish();
  await carryOnSfu(t, ...ids);
}

export async function switchToSfu(t) {
  await enterMesh(t, "bob", "carol");
  await flip();
  await publish();
  await carryOnSfu(t, "bob", "carol");
}
