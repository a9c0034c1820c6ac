import assert from "node:assert/strict";
import {test} from "node:test";
import {isLiveOnSfu, choosePath} from "../../signalling/static/signalling/room/paths.js";

const MESH = "the mesh's stream";
const SFU = "the SFU's stream";

/** Every condition that a path can be in, from the best to the worst. */
const CONDITIONS = ["live", "shaky", "pending", "dead", "none"];
const STATES = {live: "connected", shaky: "reconnecting", pending: "connecting", dead: "failed"};

function chosen(mode, mesh, server) {
  const hasArrived = (condition) => condition === "live" || condition === "shaky";
  const peer = mesh === "none" ? undefined : {state: STATES[mesh], stream: MESH};
  const streams = new Map(server === "none" ? [] : [["bob", SFU]]);
  const sfu = {receiving: STATES[server], streams, arrived: new Set(hasArrived(server) ? ["bob"] : [])};
  return choosePath({mode, id: "bob", peer, hasArrived: hasArrived(mesh), sfu});
}

test("the better path is taken in either mode, and the mode's own where they are equal", () => {
  for (const mode of ["p2p", "sfu"])
    for (const [meshRank, mesh] of CONDITIONS.entries())
      for (const [sfuRank, server] of CONDITIONS.entries()) {
        const own = mode === "p2p" ? "mesh" : "sfu";
        const expected = meshRank === sfuRank ? own : meshRank < sfuRank ? "mesh" : "sfu";
        assert.equal(chosen(mode, mesh, server).path, expected, `${mode}: ${mesh} or ${server}`);
      }
});

test("the stream and the state are those of the path", () => {
  assert.deepEqual(chosen("sfu", "live", "pending"), {path: "mesh", state: "connected", stream: MESH});
  assert.deepEqual(chosen("sfu", "live", "live"), {path: "sfu", state: "connected", stream: SFU});
  assert.deepEqual(chosen("sfu", "none", "none"), {path: "sfu", state: "connecting", stream: undefined});
  assert.equal(chosen("sfu", "none", "dead").state, "failed");
  assert.equal(chosen("sfu", "none", "shaky").state, "reconnecting");
});

test("a connected path whose media has not arrived is no better than one that connects", () => {
  const peer = {state: "connected", stream: MESH};
  const sfu = {receiving: "connected", streams: new Map([["bob", SFU]]), arrived: new Set(["bob"])};
  assert.equal(choosePath({mode: "p2p", id: "bob", peer, hasArrived: false, sfu}).path, "sfu");
  assert.equal(choosePath({mode: "p2p", id: "bob", peer, hasArrived: true, sfu}).path, "mesh");
});

test("where there is no SFU all is the mesh's", () => {
  assert.equal(choosePath({mode: "p2p", id: "bob", hasArrived: true, sfu: null}).path, "mesh");
  assert.equal(isLiveOnSfu(null, "bob"), false);
});
