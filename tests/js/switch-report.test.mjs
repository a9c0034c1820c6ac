import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SwitchReport} from "../../signalling/static/signalling/room/switch-report.js";

let isConnected;
let hasAll;
let events;
let report;

beforeEach(() => {
  isConnected = hasAll = false;
  events = [];
  report = new SwitchReport({isConnected: () => isConnected, hasAll: () => hasAll, send: (verdict) => events.push(verdict)});
});

function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return (ms) => t.mock.timers.tick(ms);
}

test("sends nothing before the beginning and after the end", (t) => {
  const tick = freeze(t);
  isConnected = hasAll = true;
  report.update();
  report.begin(true);
  report.end();
  report.update();
  tick(60_000);
  assert.deepEqual(events, []);
});

test("a connection in time is not a failure, even if media does not arrive", (t) => {
  const tick = freeze(t);
  report.begin(true);
  tick(9_000);
  isConnected = true;
  report.update();
  tick(1_000);
  assert.deepEqual(events, []);
  tick(4_000);
  assert.deepEqual(events, ["receiving"]);
});

test("a change does not extend the timeout", (t) => {
  const tick = freeze(t);
  report.begin(true);
  isConnected = true;
  report.update();
  tick(4_000);
  report.update();
  tick(1_000);
  assert.deepEqual(events, ["receiving"]);
});

test("does not report that we receive while the connection is lost", (t) => {
  const tick = freeze(t);
  report.begin(true);
  isConnected = true;
  report.update();
  isConnected = false;
  tick(5_000);
  assert.deepEqual(events, []);
  isConnected = true;
  report.update();
  tick(5_000);
  assert.deepEqual(events, ["receiving"]);
});

test("a new version is reported again", (t) => {
  freeze(t);
  isConnected = hasAll = true;
  report.begin(true);
  report.update();
  assert.equal(report.sent, "receiving");
  report.begin(true);
  assert.equal(report.sent, null);
  report.update();
  assert.deepEqual(events, ["receiving", "receiving"]);
});
