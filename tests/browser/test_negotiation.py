"""mesh/peer.js alone: two peers in one page, to provoke collisions that are rare on a network."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Enter
from tests.browser.person import Person, eventually

# As between browsers, each message takes a task, and messages keep their order.
TWO_PEERS = """async ({starters, delay}) => {
  const {Peer} = await import("/static/signalling/mesh/peer.js");
  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const media = {stream, audio: stream.getAudioTracks()[0], video: stream.getVideoTracks()[0]};
  const peers = (window.peers = {});
  const make = (id, other, polite) => {
    let queue = Promise.resolve();
    const deliver = (event, data) => event === "webrtc:ice"
      ? peers[other].receiveCandidate(data.candidate)
      : peers[other].receiveDescription(data.offer ?? data.answer);
    const send = (event, data) => {
      queue = queue.then(() => new Promise((done) => setTimeout(done, delay)));
      queue.then(() => deliver(event, structuredClone(data)));
    };
    peers[id] = new Peer({id: other, polite, media, send});
  };
  make("polite", "impolite", true);
  make("impolite", "polite", false);
  for (const id of starters) peers[id].start();
}"""

STATE = """async () => {
  const state = {};
  for (const [id, {pc}] of Object.entries(window.peers)) {
    const reports = [...(await pc.getStats()).values()].filter((r) => r.type === "inbound-rtp");
    state[id] = {
      signalling: pc.signalingState,
      sections: pc.getTransceivers().map((t) => `${t.receiver.track.kind} ${t.currentDirection}`).sort(),
      hasMedia: reports.length === 2 && reports.every((r) => (r.framesDecoded ?? r.packetsReceived) > 5),
    };
  }
  return state;
}"""

GOOD = {"signalling": "stable", "sections": ["audio sendrecv", "video sendrecv"], "hasMedia": True}


def state(person: Person) -> dict[str, Any]:
    found: dict[str, Any] = person.page.evaluate(STATE)
    return found


@pytest.mark.parametrize("delay", [0, 40])
@pytest.mark.parametrize(
    "starters", [["polite"], ["impolite"], ["polite", "impolite"], ["impolite", "polite"]]
)
def test_any_starters_negotiate_one_section_of_each_kind(
    enter: Enter, starters: list[str], delay: int
) -> None:
    person = enter("alice")
    person.page.goto(person.demo.url)
    person.page.evaluate(TWO_PEERS, {"starters": starters, "delay": delay})
    eventually(lambda: state(person) == {"polite": GOOD, "impolite": GOOD})
