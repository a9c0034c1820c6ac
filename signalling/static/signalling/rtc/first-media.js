/**
 * Detects the first media from each peer on a connection: the first decoded frame of a peer that
 * sends video, the first packet of one that sends audio only. Tracks exist long before. The owner
 * decides which statistics to read.
 */

/** @import {MediaState} from "../client/protocol.js" */

const FIRST_INTERVAL = 200;
const MAX_INTERVAL = 2_000; // a peer whose camera is broken is polled for the whole call

export class FirstMedia {
  /** The ids of the peers whose media has arrived. @type {Set<string>} */
  arrived = new Set();
  /** @type {Set<string>} */
  #expected = new Set();
  #interval = FIRST_INTERVAL;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isPolling = false;

  /**
   * @param {(ids: string[]) => Promise<string[]>} findArrived returns which of these peers' media
   *   has arrived
   * @param {(id: string) => void} onArrived
   */
  constructor(findArrived, onArrived) {
    this.findArrived = findArrived;
    this.onArrived = onArrived;
  }

  /** Start polling for a peer. @param {string} id */
  expect(id) {
    this.arrived.delete(id);
    this.#expected.add(id);
    this.#interval = FIRST_INTERVAL;
    this.#schedule();
  }

  /** Treat a peer's media as arrived, without polling. @param {string} id */
  assume(id) {
    this.arrived.add(id);
  }

  /** @param {string} id */
  remove(id) {
    this.arrived.delete(id);
    this.#expected.delete(id);
  }

  close() {
    clearTimeout(this.#timer);
    this.arrived.clear();
    this.#expected.clear();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (this.#expected.size && !this.#isPolling) this.#timer = setTimeout(() => this.#poll(), this.#interval);
  }

  async #poll() {
    this.#isPolling = true;
    // A connection that was closed in the meantime has no statistics.
    const found = await this.findArrived([...this.#expected]).catch(() => []);
    this.#isPolling = false;
    this.#interval = Math.min(this.#interval * 1.5, MAX_INTERVAL);
    const added = found.filter((id) => this.#expected.delete(id));
    for (const id of added) this.arrived.add(id);
    for (const id of added) this.onArrived(id);
    this.#schedule();
  }
}

/**
 * Return the ids of the tracks that have received media.
 * @param {RTCStatsReport} report
 * @returns {Set<string>}
 */
export function activeTracks(report) {
  const tracks = new Set();
  for (const {type, kind, framesDecoded, packetsReceived, trackIdentifier} of report.values())
    if (type === "inbound-rtp" && (kind === "video" ? framesDecoded : packetsReceived)) tracks.add(trackIdentifier);
  return tracks;
}

/**
 * Return whether a peer's media has arrived.
 * @param {MediaState | undefined} media what the peer reports that it sends; undefined for an
 *   unknown peer
 * @param {MediaStreamTrack[]} tracks the peer's tracks
 * @param {Set<string>} active the ids of the tracks that have received media
 */
export function hasArrived(media, tracks, active) {
  if (!media) return false;
  const kind = media.video ? "video" : media.audio ? "audio" : null;
  return !kind || tracks.some((track) => track.kind === kind && active.has(track.id));
}
