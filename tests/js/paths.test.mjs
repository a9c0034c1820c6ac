import assert from "node:assert/strict";
import {test} from "node:test";
import {isLiveOnSfu, choosePath} from "../../signalling/static/signalling/room/paths.js";

const MESH = "the mesh's stream";
const SFU = "the SFU's stream";

/** The conditions of a path, from best to worst. */
const CONDITIONS = ["live", "interrupted", "pending", "failed", "none"];
const STATES = {live: "connected", interrupted: "reconnecting", pending: "connecting", failed: "failed"};

function chosen(mode, mesh, server) {
  const hasArrived = (condition) => condition === "live" || condition === "interrupted";
  const peer = mesh === "none" ? undefined : {state: STATES[mesh], stream: MESH};
  const streams = new Map(server === "none" ? [] : [["bob", SFU]]);
  const sfu = {receiving: STATES[server], streams, arrived: new Set(hasArrived(server) ? ["bob"] : [])};
  return choosePath({mode, id: "bob", peer, hasArrived: hasArrived(mesh), sfu});
}

test("chooses the better path in either mode, and the mode's own path if they are equal", () => {
  for (const mode of ["p2p", "sfu"])
    for (const [meshRank, mesh] of CONDITIONS.entries())
      for (const [sfuRank, server] of CONDITIONS.entries()) {
        const own = mode === "p2p" ? "mesh" : "sfu";
        const expected = meshRank === sfuRank ? own : meshRank < sfuRank ? "mesh" : "sfu";
        assert.equal(chosen(mode, mesh, server).path, expected, `${mode}: ${mesh} or ${server}`);
      }
});

test("returns the stream and the state of the chosen path", () => {
  assert.deepEqual(chosen("sfu", "live", "pending"), {path: "mesh", state: "connected", stream: MESH});
  assert.deepEqual(chosen("sfu", "live", "live"), {path: "sfu", state: "connected", stream: SFU});
  assert.deepEqual(chosen("sfu", "none", "none"), {path: "sfu", state: "connecting", stream: undefined});
  assert.equal(chosen("sfu", "none", "failed").state, "failed");
  assert.equal(chosen("sfu", "none", "interrupted").state, "reconnecting");
});

test("a connected path without media ranks like one that is connecting", () => {
  const peer = {state: "connected", stream: MESH};
  const sfu = {receiving: "connected", streams: new Map([["bob", SFU]]), arrived: new Set(["bob"])};
  assert.equal(choosePath({mode: "p2p", id: "bob", peer, hasArrived: false, sfu}).path, "sfu");
  assert.equal(choosePath({mode: "p2p", id: "bob", peer, hasArrived: true, sfu}).path, "mesh");
});

test("without an SFU, chooses the mesh", () => {
  assert.equal(choosePath({mode: "p2p", id: "bob", hasArrived: true, sfu: null}).path, "mesh");
  assert.equal(isLiveOnSfu(null, "bob"), false);
});
