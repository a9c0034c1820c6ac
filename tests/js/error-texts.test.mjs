import assert from "node:assert/strict";
import {test} from "node:test";
import {CLOSES, DEVICES, ERRORS, explain} from "../../signalling/static/signalling/page/error-texts.js";
import {DeviceError, SignallingError} from "../../signalling/static/signalling/index.js";

test("every text has a title, advice and an action", () => {
  for (const text of [ERRORS, CLOSES, DEVICES.audio, DEVICES.video].flatMap(Object.values)) {
    assert.match(text.title, /^[A-Z].+[.]$/);
    assert.match(text.advice, /^[A-Z].+[.]$/);
    assert.ok(["home", "again", "signin"].includes(text.action));
  }
});

test("no placeholder is shown, whatever data the server omits", () => {
  for (const code of Object.keys(ERRORS)) {
    const {title, advice} = explain(new SignallingError({code}));
    assert.doesNotMatch(title + advice, /undefined|NaN|[{}]/);
  }
});

test("data from the error is inserted", () => {
  assert.match(explain(new SignallingError({code: "room_full", limit: 10})).title, /10 people/);
  assert.match(explain(new SignallingError({code: "rate_limited", retryAfter: 6.2})).advice, /7 seconds/);
});

test("an error frame takes precedence over the close code; unknown codes mean a lost connection", () => {
  assert.equal(explain(new SignallingError({code: "token_expired", closeCode: 4401})).title, ERRORS.token_expired.title);
  assert.equal(explain(new SignallingError({code: "closed", closeCode: 4410})).title, CLOSES[4410].title);
  assert.equal(explain(new SignallingError({code: "new_in_version_9", closeCode: 4999})).title, CLOSES[1006].title);
});

test("a device that cannot be used is named", () => {
  assert.match(explain(new DeviceError("busy", "video")).title, /camera/);
  assert.match(explain(new DeviceError("denied", "audio")).title, /microphone/);
});
