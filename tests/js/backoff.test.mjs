import assert from "node:assert/strict";
import {beforeEach, test} from "node:test";
import {Backoff, delay, mayReconnect} from "../../signalling/static/signalling/client/backoff.js";

let attempts;
let backoff;
let page;

beforeEach(() => {
  attempts = 0;
  page = {window: new EventTarget(), document: Object.assign(new EventTarget(), {visibilityState: "visible"})};
  backoff = new Backoff(() => (attempts += 1), page);
});

/** Wait once, for at most `longest`. @returns {number} the milliseconds until the attempt */
function waitOnce(t, longest) {
  const before = attempts;
  backoff.wait();
  let waited = 0;
  while (attempts === before && waited <= longest) {
    t.mock.timers.tick(10);
    waited += 10;
  }
  return waited;
}

test("a client may reconnect after these close codes only", () => {
  for (const code of [1001, 1006, 1012, 4408, 4500, 4503, 4508]) assert.ok(mayReconnect(code), String(code));
  for (const code of [1000, 1002, 1007, 1009, 1011, 4400, 4401, 4403, 4409, 4410, 4429])
    assert.ok(!mayReconnect(code), String(code));
});

test("waits up to 1 s, then 1, 2, 4 and 7 s, each ± 50 %, then always 7 s", () => {
  const ranges = [0, 1, 2, 3, 4, 5, 100].map((attempt) => [delay(attempt, () => 0), delay(attempt, () => 1)]);
  assert.deepEqual(ranges, [
    [0, 1_000],
    [500, 1_500],
    [1_000, 3_000],
    [2_000, 6_000],
    [3_500, 10_500],
    [3_500, 10_500],
    [3_500, 10_500],
  ]);
});

test("waits longer after each failed attempt", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  const waits = [1, 2, 3, 4, 5, 6].map(() => waitOnce(t, 20_000));
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 7_000, 7_000]);
});

test("the waits start over after a stable connection, but not after a short one", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  waitOnce(t, 20_000);
  waitOnce(t, 20_000);
  backoff.succeeded();
  t.mock.timers.tick(9_999);
  assert.equal(waitOnce(t, 20_000), 2_000);
  backoff.succeeded();
  t.mock.timers.tick(10_000);
  assert.equal(waitOnce(t, 20_000), 500);
});

for (const [hint, give] of Object.entries({
  online: () => page.window.dispatchEvent(new Event("online")),
  visibilitychange: () => page.document.dispatchEvent(new Event("visibilitychange")),
})) {
  test(`${hint} ends a wait once`, (t) => {
    t.mock.timers.enable({apis: ["setTimeout", "Date"]});
    t.mock.method(Math, "random", () => 0.5);
    backoff.wait();
    give();
    give();
    assert.equal(attempts, 1);
    t.mock.timers.tick(60_000);
    assert.equal(attempts, 1, "the skipped wait does not fire");
  });
}

test("hiding the page does not end a wait", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  backoff.wait();
  page.document.visibilityState = "hidden";
  page.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(attempts, 0);
});

test("a hint without a wait does nothing", () => {
  page.window.dispatchEvent(new Event("online"));
  assert.equal(attempts, 0);
});

test("a cancelled wait does not fire", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  backoff.wait();
  backoff.cancel();
  page.window.dispatchEvent(new Event("online"));
  t.mock.timers.tick(60_000);
  assert.equal(attempts, 0);
});

test("hints do not shorten the wait that the server asked for; jitter is added to it", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0.5);
  backoff.wait(5);
  page.window.dispatchEvent(new Event("online"));
  t.mock.timers.tick(5_000);
  assert.equal(attempts, 0);
  t.mock.timers.tick(500);
  assert.equal(attempts, 1);
});

test("a loss right afterwards does not shorten the wait that the server asked for", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0);
  backoff.wait(5);
  backoff.wait();
  t.mock.timers.tick(4_999);
  assert.equal(attempts, 0);
});

test("works without a page, as in Node", (t) => {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  backoff = new Backoff(() => (attempts += 1));
  backoff.wait();
  t.mock.timers.tick(1_000);
  assert.equal(attempts, 1);
});
