/**
 * What we send to the other peers. A description that nobody has acknowledged is kept, with the candidates behind it,
 * and so is all that comes up while our signalling is away; when we are back it is sent, in order. Twice is better
 * than never: a peer that gets the same offer again answers it again (peer.js).
 */
import {SignallingError} from "./errors.js";

/** @typedef {import("./client.js").SignallingClient} SignallingClient */
/** @typedef {{event: string, data: object}} Frame */

const RETRIES = 3; // of an offer or an answer that the server asked us to send later

/** Of candidates for one peer. More is no browser's doing, and for nine peers at once it would be a flood (PROTOCOL.md, "Limits"). */
const MAX_CANDIDATES = 32;

/** Events: "failed" (detail: {id, error}) when the server would not relay what a connection cannot do without. */
export class Relay extends EventTarget {
  #isOpen = false;
  /** Losses are numbered: what was to be sent again before one is sent by `open` after it. */
  #losses = 0;
  /** @type {Map<string, Frame[]>} by target */
  #kept = new Map();

  /** @param {SignallingClient} client */
  constructor(client) {
    super();
    this.client = client;
  }

  /** Descriptions are worth an answer from the server, candidates are many and can be spared.
   * @param {string} id @param {string} event @param {object} data
   */
  send(id, event, data) {
    const frame = {event, data};
    if (!this.#isOpen || isDescription(frame) || this.#kept.has(id)) this.#keep(id, frame);
    if (this.#isOpen) this.#transmit(id, frame);
  }

  /** We are in the room, for the first time or again. */
  open() {
    this.#isOpen = true;
    for (const [id, frames] of this.#kept) for (const frame of [...frames]) this.#transmit(id, frame);
  }

  /** The socket is lost. */
  hold() {
    this.#isOpen = false;
    this.#losses += 1;
  }

  /** @param {string} id a peer that has left */
  forget(id) {
    this.#kept.delete(id);
  }

  /** @param {string} id @param {Frame} frame */
  #keep(id, frame) {
    const frames = this.#kept.get(id) ?? [];
    this.#kept.set(id, frames);
    frames.push(frame);
    const candidates = frames.filter((kept) => !isDescription(kept));
    // The oldest one goes: it is the likeliest to be of a network that is no more.
    if (candidates.length > MAX_CANDIDATES) frames.splice(frames.indexOf(/** @type {Frame} */ (candidates[0])), 1);
  }

  /** @param {string} id @param {Frame} frame */
  #transmit(id, frame) {
    if (isDescription(frame)) this.#request(id, frame, RETRIES);
    else {
      this.client.send(frame.event, frame.data);
      if (this.#kept.get(id)?.[0] === frame) this.#done(id, frame);
    }
  }

  /** @param {string} id @param {Frame} frame @param {number} retries @returns {Promise<void>} */
  async #request(id, frame, retries) {
    const losses = this.#losses;
    try {
      await this.client.request(frame.event, frame.data);
    } catch (error) {
      if (!(error instanceof SignallingError)) throw error;
      if (error.closeCode !== undefined) return; // nobody knows whether it arrived: `open` sends it again
      if (error.retryAfter !== undefined && retries > 0) {
        await new Promise((resolve) => setTimeout(resolve, Number(error.retryAfter) * 1000));
        if (losses === this.#losses && this.#keeps(id, frame)) await this.#request(id, frame, retries - 1);
        return;
      }
      this.#fail(id, error);
    }
    this.#done(id, frame);
  }

  /** @param {string} id @param {SignallingError} error */
  #fail(id, error) {
    // They left a moment ago, or we did: an event of its own tells it.
    if (["peer_not_found", "not_in_room"].includes(error.code)) return;
    this.dispatchEvent(new CustomEvent("failed", {detail: {id, error}}));
  }

  /** @param {string} id @param {Frame} frame */
  #keeps(id, frame) {
    return this.#kept.get(id)?.includes(frame) ?? false;
  }

  /** Nothing is left to do for this frame, nor for the candidates that were sent behind it. @param {string} id @param {Frame} frame */
  #done(id, frame) {
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
