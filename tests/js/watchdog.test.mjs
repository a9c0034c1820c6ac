import assert from "node:assert/strict";
import {test} from "node:test";
import {Watchdog} from "../../signalling/static/signalling/room/watchdog.js";

function watched(t) {
  t.mock.timers.enable({apis: ["setTimeout"]});
  let barks = 0;
  const dog = new Watchdog(() => (barks += 1));
  t.after(() => dog.reset());
  /** After how many seconds it barks, from now on and within ten minutes. */
  const times = () => {
    const found = [];
    for (let second = 1, before = barks; second <= 600; second += 1, before = barks) {
      t.mock.timers.tick(1_000);
      if (barks > before) found.push(second);
    }
    return found.slice(0, 4);
  };
  return {dog, times};
}

test("what mends itself has fifteen seconds, then twice as long, and at last a minute", (t) => {
  const {dog, times} = watched(t);
  dog.update(false);
  assert.deepEqual(times(), [15, 45, 105, 165]);
});

test("what has given up is asked for soon, and ever more seldom", (t) => {
  const {dog, times} = watched(t);
  dog.update(false);
  dog.update(false, true);
  assert.deepEqual(times(), [1, 3, 7, 15]);
});

test("news make it no more patient", (t) => {
  const {dog, times} = watched(t);
  dog.update(false);
  t.mock.timers.tick(10_000);
  dog.update(false);
  assert.equal(times()[0], 5);
});

test("when all is well it rests, and begins with its first patience again", (t) => {
  const {dog, times} = watched(t);
  dog.update(false);
  t.mock.timers.tick(50_000);
  dog.update(true);
  assert.deepEqual(times(), []);
  dog.update(false);
  assert.equal(times()[0], 15);
});

test("while nothing can help it waits, and remembers how often it has asked", (t) => {
  const {dog, times} = watched(t);
  dog.update(false);
  t.mock.timers.tick(15_000);
  dog.pause();
  assert.deepEqual(times(), []);
  dog.update(false);
  assert.equal(times()[0], 30);
});
