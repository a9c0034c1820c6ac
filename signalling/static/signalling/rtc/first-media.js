/**
 * Whose media has arrived on a connection: the first decoded frame of who says that they send video, the first packet
 * of who sends audio alone. A track is there long before. Where we look is the owner's business.
 *
 * @typedef {import("../client/protocol.js").MediaState} MediaState
 */

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 2_000; // somebody whose camera is broken is looked at for as long as the call lasts

export class Arrivals {
  /** @type {Set<string>} */
  arrived = new Set();
  /** @type {Set<string>} */
  #expected = new Set();
  #pause = FIRST_PAUSE;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isLooking = false;

  /**
   * @param {(ids: string[]) => Promise<string[]>} look which of those who are expected have arrived
   * @param {(id: string) => void} found
   */
  constructor(look, found) {
    this.look = look;
    this.found = found;
  }

  /** @param {string} id */
  expect(id) {
    this.arrived.delete(id);
    this.#expected.add(id);
    this.#pause = FIRST_PAUSE;
    this.#again();
  }

  /** Take it as seen. @param {string} id */
  assume(id) {
    this.arrived.add(id);
  }

  /** @param {string} id */
  forget(id) {
    this.arrived.delete(id);
    this.#expected.delete(id);
  }

  close() {
    clearTimeout(this.#timer);
    this.arrived.clear();
    this.#expected.clear();
  }

  #again() {
    clearTimeout(this.#timer);
    if (this.#expected.size && !this.#isLooking) this.#timer = setTimeout(() => this.#round(), this.#pause);
  }

  async #round() {
    this.#isLooking = true;
    // A connection that was closed meanwhile has no statistics.
    const seen = await this.look([...this.#expected]).catch(() => []);
    this.#isLooking = false;
    this.#pause = Math.min(this.#pause * 1.5, LONGEST_PAUSE);
    const news = seen.filter((id) => this.#expected.delete(id));
    for (const id of news) this.arrived.add(id);
    for (const id of news) this.found(id);
    this.#again();
  }
}

/** The ids of the tracks that carry something. @param {RTCStatsReport} report @returns {Set<string>} */
export function flowing(report) {
  const tracks = new Set();
  for (const {type, kind, framesDecoded, packetsReceived, trackIdentifier} of report.values())
    if (type === "inbound-rtp" && (kind === "video" ? framesDecoded : packetsReceived)) tracks.add(trackIdentifier);
  return tracks;
}

/**
 * @param {MediaState | undefined} media what they say that they send; of somebody unknown nothing has arrived
 * @param {MediaStreamTrack[]} tracks theirs
 * @param {Set<string>} flows
 */
export function hasArrived(media, tracks, flows) {
  if (!media) return false;
  const kind = media.video ? "video" : media.audio ? "audio" : null;
  return !kind || tracks.some((track) => track.kind === kind && flows.has(track.id));
}
