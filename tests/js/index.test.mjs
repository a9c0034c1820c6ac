import assert from "node:assert/strict";
import {test} from "node:test";
import {FakeConnection, FakeStream} from "./fakes.mjs";

globalThis.RTCPeerConnection = FakeConnection;
globalThis.MediaStream = FakeStream;
const library = await import("../../signalling/static/signalling/index.js");
const {createSfu} = await import("../../signalling/static/signalling/sfu/providers.js");

const OPTIONS = {iceServers: [], media: {}, send() {}, restart() {}, mediaOf() {}};

test("index.js exports the public API", () => {
  assert.deepEqual(Object.keys(library).sort(), [
    "DeviceError",
    "Devices",
    "LiveKitSfu",
    "Membership",
    "ProxiedSfu",
    "Room",
    "SignallingClient",
    "SignallingError",
    "isReservedId",
    "registerProvider",
    "sameOriginSocket",
  ]);
});

for (const [provider, expected] of [
  ["proxied", library.ProxiedSfu],
  ["janus", library.ProxiedSfu],
  ["livekit", library.LiveKitSfu],
])
  test(`index.js registers the SFU provider "${provider}"`, () => {
    assert.ok(createSfu({provider}, OPTIONS) instanceof expected);
  });

test("a site can register its own SFU provider", () => {
  const session = new EventTarget();
  const calls = [];
  library.registerProvider("example", (access, options) => (calls.push([access, options]), session));
  const access = {provider: "example", url: "wss://sfu.example.org"};
  assert.equal(createSfu(access, OPTIONS), session);
  assert.deepEqual(calls, [[access, OPTIONS]]);
});

test("an unknown SFU provider gives no session", (t) => {
  const warn = t.mock.method(console, "warn", () => {});
  assert.equal(createSfu({provider: "unknown"}, OPTIONS), null);
  assert.equal(createSfu(undefined, OPTIONS), null);
  assert.equal(warn.mock.callCount(), 2);
});
