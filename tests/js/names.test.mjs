import assert from "node:assert/strict";
import {test} from "node:test";
import {named, relabel} from "../../signalling/static/signalling/room/names.js";

const person = (username, displayName = "", ...nameKeys) => ({
  ...named({username, displayName}, nameKeys),
  name: "",
});
const OWN = named({username: "alice"}, ["alice"]);
const labels = (...participants) => {
  relabel(participants, OWN);
  return participants.map(({name}) => name);
};

test("the label is the display name, or the user name if there is none", () => {
  assert.deepEqual(labels(person("u1", "Bob", "u1", "bob"), person("u2", "", "u2")), ["Bob", "u2"]);
});

test("a display name that looks like another user's name is shown with the user name", () => {
  const [fake, real] = labels(person("u09", "u08", "u09", "u08"), person("u08", "", "u08"));
  assert.equal(fake, "\u2068u08\u2069 (u09)");
  assert.equal(real, "u08");
});

test("two equal display names are both shown with their user names", () => {
  assert.deepEqual(labels(person("u1", "Bob", "bob"), person("u2", "B0b", "bob")), [
    "\u2068Bob\u2069 (u1)",
    "\u2068B0b\u2069 (u2)",
  ]);
});

test("a part between brackets clashes with a name, and not with another part", () => {
  const [anna, maria] = [person("u1", "Anna (she)", "anna", "(she"), person("u2", "Maria (she)", "maria", "(she")];
  assert.deepEqual(labels(anna, maria), ["Anna (she)", "Maria (she)"]);
  assert.deepEqual(labels(anna, person("she", "", "she")), ["\u2068Anna (she)\u2069 (u1)", "she"]);
});

test("our own name is protected too", () => {
  assert.deepEqual(labels(person("u1", "Alice", "u1", "alice")), ["\u2068Alice\u2069 (u1)"]);
});

test("devices of one user do not count as a clash", () => {
  assert.deepEqual(labels(person("u1", "Bob", "bob"), person("u1", "Bob", "bob")), ["Bob", "Bob"]);
  assert.deepEqual(labels(person("alice", "Alice", "alice")), ["Alice"]);
});

test("a display name that repeats the user name is shown once", () => {
  assert.deepEqual(labels(person("bob", "bob", "bob"), person("u2", "Bob", "bob")), ["bob", "\u2068Bob\u2069 (u2)"]);
});

test("without keys, both names are shown", () => {
  const earlier = {...named({username: "u1", displayName: "Bob"}), name: ""};
  assert.deepEqual(labels(earlier), ["\u2068Bob\u2069 (u1)"]);
});

test("only changed labels are reported", () => {
  const bob = person("u1", "Bob", "bob");
  const other = person("u2", "", "u2");
  assert.deepEqual(relabel([bob, other], OWN), [bob, other]);
  assert.deepEqual(relabel([bob, other], OWN), []);
  const fake = person("u3", "Bob", "bob");
  assert.deepEqual(relabel([bob, other, fake], OWN), [bob, fake]);
  assert.deepEqual(relabel([bob, other], OWN), [bob], "the clash has left");
});
