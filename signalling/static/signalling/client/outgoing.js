/**
 * The frames that we send to other peers. Frames that come up while the socket is lost are kept,
 * and so are descriptions that the server has not acknowledged, with the candidates that follow
 * them. All are sent in order once we are back in the room. A frame may arrive twice: a peer that
 * receives the same offer again repeats its answer (mesh/peer.js).
 */
import {SignallingError} from "./errors.js";

/** @import {SignallingClient} from "./client.js" */
/** @typedef {{event: string, data: object}} Frame */

const RETRIES = 3; // for a description that the server asked us to send later

/**
 * How many candidates are kept for one peer. Browsers produce fewer, and sending more to each of
 * nine peers at once would exceed the rate limit (PROTOCOL.md, "Limits").
 */
const MAX_CANDIDATES = 32;

/** Events: "failed" (detail: {id, error}) when the server refused to relay a description. */
export class Outgoing extends EventTarget {
  #isOpen = false;
  /**
   * Numbers the losses: after a loss, `resume` repeats the frames, so earlier retries are dropped.
   */
  #losses = 0;
  /** By target. @type {Map<string, Frame[]>} */
  #kept = new Map();

  /** @param {SignallingClient} client */
  constructor(client) {
    super();
    this.client = client;
  }

  /**
   * Send a frame. Descriptions are acknowledged by the server; candidates, which are many, are not.
   * @param {string} id
   * @param {string} event
   * @param {object} data
   */
  send(id, event, data) {
    const frame = {event, data};
    if (!this.#isOpen || isDescription(frame) || this.#kept.has(id)) this.#keep(id, frame);
    if (this.#isOpen) this.#transmit(id, frame);
  }

  /** We are in the room, for the first time or again. */
  resume() {
    this.#isOpen = true;
    for (const [id, frames] of this.#kept) for (const frame of [...frames]) this.#transmit(id, frame);
  }

  /** The socket is lost. */
  pause() {
    this.#isOpen = false;
    this.#losses += 1;
  }

  /** Drop all frames that are kept for a target. @param {string} id */
  discard(id) {
    this.#kept.delete(id);
  }

  /** @param {string} id @param {Frame} frame */
  #keep(id, frame) {
    const frames = this.#kept.get(id) ?? [];
    this.#kept.set(id, frames);
    frames.push(frame);
    const [oldest, ...others] = frames.filter((kept) => !isDescription(kept));
    // The oldest candidate most likely belongs to a network that we have left.
    if (oldest && others.length >= MAX_CANDIDATES) frames.splice(frames.indexOf(oldest), 1);
  }

  /** @param {string} id @param {Frame} frame */
  #transmit(id, frame) {
    if (isDescription(frame)) this.#request(id, frame, RETRIES);
    else {
      this.client.send(frame.event, frame.data);
      if (this.#kept.get(id)?.[0] === frame) this.#remove(id, frame);
    }
  }

  /** @param {string} id @param {Frame} frame @param {number} retries @returns {Promise<void>} */
  async #request(id, frame, retries) {
    const losses = this.#losses;
    try {
      await this.client.request(frame.event, frame.data);
    } catch (error) {
      if (!(error instanceof SignallingError)) throw error;
      if (error.closeCode !== undefined) return; // it may not have arrived: `resume` repeats it
      if (error.retryAfter !== undefined && retries > 0) {
        await new Promise((resolve) => setTimeout(resolve, Number(error.retryAfter) * 1000));
        if (losses === this.#losses && this.#isKept(id, frame)) await this.#request(id, frame, retries - 1);
        return;
      }
      this.#reportFailure(id, error);
    }
    this.#remove(id, frame);
  }

  /** @param {string} id @param {SignallingError} error */
  #reportFailure(id, error) {
    // The peer has just left, or we have: other events report that.
    if (["peer_not_found", "not_in_room"].includes(error.code)) return;
    this.dispatchEvent(new CustomEvent("failed", {detail: {id, error}}));
  }

  /** @param {string} id @param {Frame} frame */
  #isKept(id, frame) {
    return this.#kept.get(id)?.includes(frame) ?? false;
  }

  /**
   * Remove a frame that needs no further attempt, and the candidates sent after it.
   * @param {string} id
   * @param {Frame} frame
   */
  #remove(id, frame) {
    const frames = this.#kept.get(id) ?? [];
    const at = frames.indexOf(frame);
    if (at === -1) return;
    const next = frames.findIndex((kept, index) => index > at && isDescription(kept));
    frames.splice(at, (next === -1 ? frames.length : next) - at);
    if (!frames.length) this.#kept.delete(id);
  }
}

/** @param {Frame} frame */
function isDescription({event}) {
  return event !== "webrtc:ice";
}
