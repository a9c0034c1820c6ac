/** ICE candidates of the other side: as they come, and before they can be used. */

const MAX_EARLY = 200; // more is no browser's doing

/**
 * What addIceCandidate() can take. A bare line names no media section and would be a TypeError; every section is
 * bundled on the first one's transport. null and "" both mean the end of candidates (WebRTC 1.0, section 4.4.1.6).
 * @param {RTCIceCandidateInit | string | null} candidate
 * @returns {RTCIceCandidateInit}
 */
export function readCandidate(candidate) {
  if (candidate === null || candidate === "") return {candidate: ""};
  if (typeof candidate === "string") return {candidate, sdpMLineIndex: 0};
  return candidate;
}

/** Those that came before the description that they belong to. */
export class EarlyCandidates {
  /** @type {RTCIceCandidateInit[]} */
  #kept = [];

  /** @param {RTCIceCandidateInit} init */
  keep(init) {
    if (this.#kept.length < MAX_EARLY) this.#kept.push(init);
  }

  /** Have them all, in order and once. */
  take() {
    return this.#kept.splice(0);
  }
}
