import assert from "node:assert/strict";
import {test} from "node:test";
import {SignallingError} from "../../signalling/static/signalling/client/client.js";
import {CLOSES, DEVICES, ERRORS, explain} from "../../signalling/static/signalling/page/error-texts.js";
import {DeviceError} from "../../signalling/static/signalling/rtc/devices.js";

test("every message says what happened, what to do, and offers a way on", () => {
  for (const message of [ERRORS, CLOSES, DEVICES].flatMap(Object.values)) {
    assert.match(message.what, /^[A-Z].+[.]$/);
    assert.match(message.todo, /^[A-Z].+[.]$/);
    assert.ok(["home", "again", "signin"].includes(message.way));
  }
});

test("no message is shown with a gap, whatever the server leaves out", () => {
  for (const code of Object.keys(ERRORS)) {
    const {what, todo} = explain(new SignallingError({code}));
    assert.doesNotMatch(what + todo, /undefined|NaN|[{}]/);
  }
});

test("what the error says is filled in", () => {
  assert.match(explain(new SignallingError({code: "room_full", limit: 10})).what, /10 people/);
  assert.match(explain(new SignallingError({code: "rate_limited", retryAfter: 6.2})).todo, /7 seconds/);
});

test("the error frame counts for more than the close code, and an unknown pair is a lost connection", () => {
  assert.equal(explain(new SignallingError({code: "token_expired", closeCode: 4401})).what, ERRORS.token_expired.what);
  assert.equal(explain(new SignallingError({code: "closed", closeCode: 4410})).what, CLOSES[4410].what);
  assert.equal(explain(new SignallingError({code: "new_in_version_9", closeCode: 4999})).what, CLOSES[1006].what);
});

test("a device that cannot be had is named", () => {
  assert.match(explain(new DeviceError("busy", "video")).what, /camera/);
  assert.match(explain(new DeviceError("denied", "audio")).what, /microphone/);
});
