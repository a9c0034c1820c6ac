import assert from "node:assert/strict";
import {test} from "node:test";
import {Watchdog} from "../../signalling/static/signalling/room/watchdog.js";

function create(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  let timeouts = 0;
  const watchdog = new Watchdog(() => (timeouts += 1));
  t.after(() => watchdog.reset());
  /** Return the seconds after which it fires, from now on and within ten minutes. */
  const times = () => {
    const found = [];
    for (let second = 1, before = timeouts; second <= 600; second += 1, before = timeouts) {
      t.mock.timers.tick(1_000);
      if (timeouts > before) found.push(second);
    }
    return found.slice(0, 4);
  };
  return {watchdog, times};
}

test("fires after 15 s, then after twice as long, up to 60 s", (t) => {
  const {watchdog, times} = create(t);
  watchdog.update(false);
  assert.deepEqual(times(), [15, 45, 105, 165]);
});

test("fires after 1 s if the connection has failed, then after twice as long", (t) => {
  const {watchdog, times} = create(t);
  watchdog.update(false);
  watchdog.update(false, true);
  assert.deepEqual(times(), [1, 3, 7, 15]);
});

test("a change does not extend the timeout", (t) => {
  const {watchdog, times} = create(t);
  watchdog.update(false);
  t.mock.timers.tick(10_000);
  watchdog.update(false);
  assert.equal(times()[0], 5);
});

test("a healthy connection stops it, and it starts over with the first timeout", (t) => {
  const {watchdog, times} = create(t);
  watchdog.update(false);
  t.mock.timers.tick(50_000);
  watchdog.update(true);
  assert.deepEqual(times(), []);
  watchdog.update(false);
  assert.equal(times()[0], 15);
});

test("a pause keeps the current interval", (t) => {
  const {watchdog, times} = create(t);
  watchdog.update(false);
  t.mock.timers.tick(15_000);
  watchdog.pause();
  assert.deepEqual(times(), []);
  watchdog.update(false);
  assert.equal(times()[0], 30);
});
