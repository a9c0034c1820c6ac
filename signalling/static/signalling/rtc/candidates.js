/** Remote ICE candidates: their formats, and those that arrive before they can be added. */

/** @import {WireCandidate} from "../client/protocol.js" */

const MAX_EARLY = 200; // more than any browser gathers

/**
 * Return what addIceCandidate() accepts. A bare line names no media section and would be a
 * TypeError; all sections are bundled on the transport of the first one. null and "" both mean the
 * end of candidates (WebRTC 1.0, section 4.4.1.6).
 * @param {WireCandidate} candidate
 * @returns {RTCIceCandidateInit}
 */
export function readCandidate(candidate) {
  if (candidate === null || candidate === "") return {candidate: ""};
  if (typeof candidate === "string") return {candidate, sdpMLineIndex: 0};
  return candidate;
}

/** Candidates that arrived before the description that they belong to. */
export class EarlyCandidates {
  /** @type {RTCIceCandidateInit[]} */
  #kept = [];

  /** @param {RTCIceCandidateInit} init */
  keep(init) {
    if (this.#kept.length < MAX_EARLY) this.#kept.push(init);
  }

  /** Remove all candidates and return them in order. */
  take() {
    return this.#kept.splice(0);
  }
}
