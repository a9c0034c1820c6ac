import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {SwitchReport} from "../../signalling/static/signalling/room/switch-report.js";

let isConnected;
let hasAll;
let told;
let report;

beforeEach(() => {
  isConnected = hasAll = false;
  told = [];
  report = new SwitchReport({isConnected: () => isConnected, hasAll: () => hasAll, send: (verdict) => told.push(verdict)});
});

function freeze(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  return (ms) => t.mock.timers.tick(ms);
}

test("before there is anything to report nothing is, nor after the end", (t) => {
  const tick = freeze(t);
  isConnected = hasAll = true;
  report.update();
  report.begin(true);
  report.end();
  report.update();
  tick(60_000);
  assert.deepEqual(told, []);
});

test("a connection in time is no failure, however long the others take", (t) => {
  const tick = freeze(t);
  report.begin(true);
  tick(9_000);
  isConnected = true;
  report.update();
  tick(1_000);
  assert.deepEqual(told, []);
  tick(4_000);
  assert.deepEqual(told, ["receiving"]);
});

test("news while we are patient make us no more patient", (t) => {
  const tick = freeze(t);
  report.begin(true);
  isConnected = true;
  report.update();
  tick(4_000);
  report.update();
  tick(1_000);
  assert.deepEqual(told, ["receiving"]);
});

test("who has lost the connection meanwhile does not receive", (t) => {
  const tick = freeze(t);
  report.begin(true);
  isConnected = true;
  report.update();
  isConnected = false;
  tick(5_000);
  assert.deepEqual(told, []);
  isConnected = true;
  report.update();
  tick(5_000);
  assert.deepEqual(told, ["receiving"]);
});

test("of a new version nothing was told yet", (t) => {
  freeze(t);
  isConnected = hasAll = true;
  report.begin(true);
  report.update();
  assert.equal(report.sent, "receiving");
  report.begin(true);
  assert.equal(report.sent, null);
  report.update();
  assert.deepEqual(told, ["receiving", "receiving"]);
});
