import assert from "node:assert/strict";
import {test} from "node:test";
import {compact} from "../../signalling/static/signalling/rtc/sdp.js";

const SESSION = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"];
const TRANSPORT = [
  "a=rtcp:9 IN IP4 0.0.0.0",
  "a=ice-ufrag:F8nL",
  "a=ice-pwd:zAQEBVH9fmeCpB7g5pAfi+RM",
  "a=ice-options:trickle",
  `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
  "a=setup:active",
];
const KEPT = ["a=recvonly", "a=rtcp-mux", "a=rtcp-rsize", "a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack pli", "a=extmap:4 urn:mid"];

const section = (mid, {port = 9, transport = TRANSPORT} = {}) =>
  [`m=video ${port} UDP/TLS/RTP/SAVPF 96`, "c=IN IP4 0.0.0.0", ...transport, `a=mid:${mid}`, ...KEPT];
const sdp = (bundle, ...sections) => [...SESSION, ...bundle, ...sections.flat(), ""].join("\r\n");
const bundle = (mids) => [`a=group:BUNDLE ${mids}`];

test("the first section keeps its transport lines, the others lose the shared ones", () => {
  const answer = sdp(bundle("0 1 2"), section("0"), section("1"), section("2"));
  assert.equal(
    compact(answer),
    sdp(bundle("0 1 2"), section("0"), section("1", {transport: []}), section("2", {transport: []})),
  );
});

test("transport lines that differ from the first section are kept", () => {
  const other = {transport: ["a=ice-ufrag:other", "a=setup:passive"]};
  const answer = sdp(bundle("0 1"), section("0"), section("1", other));
  assert.equal(compact(answer), answer);
});

test("the first section in use keeps its transport lines", () => {
  const answer = sdp(bundle("0 1 2"), section("0", {port: 0}), section("1"), section("2"));
  assert.equal(compact(answer), sdp(bundle("0 1 2"), section("0", {port: 0}), section("1"), section("2", {transport: []})));
});

test("nothing is removed unless all sections are bundled", () => {
  for (const answer of [sdp([], section("0"), section("1")), sdp(bundle("0"), section("0"), section("1")), ""])
    assert.equal(compact(answer), answer);
});

test("an answer for 50 peers fits into a frame", () => {
  const mids = Array.from({length: 98}, (_, index) => String(index));
  const before = sdp(bundle(mids.join(" ")), ...mids.map((mid) => section(mid)));
  const saved = 97 * [...TRANSPORT, ""].join("\r\n").length;
  assert.equal(compact(before).length, before.length - saved);
});
