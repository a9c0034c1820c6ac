/**
 * What we receive from the SFU, of everybody through one connection. It offers, again and again as people come and
 * go, and the same once more when it has no answer.
 *
 * Events: "state"; "streams" (detail: peer ids) when theirs have come, changed or gone; "arrived" (detail: peer id) with
 * somebody's first media.
 */
import {Arrivals, flowing, hasArrived} from "../rtc/first-media.js";
import {SfuConnection} from "./connection.js";
import {compact} from "../rtc/sdp.js";

export const SUBSCRIBE = "sfu:subscribe";

/** @typedef {import("../client/protocol.js").MediaState} MediaState */
/** @typedef {import("../client/protocol.js").SfuStream} SfuStream */

export class Subscription extends SfuConnection {
  /** By peer id. @type {Map<string, MediaStream>} */
  streams = new Map();
  /** Whether an offer was answered, so that who is not in `streams` is not there. */
  isAnswered = false;
  /** @type {{offer: string | undefined, answer: RTCSessionDescriptionInit} | null} */
  #last = null;
  #arrivals = new Arrivals((ids) => this.#look(ids), (id) => this.#dispatch("arrived", id));

  /**
   * @param {Omit<import("./connection.js").ConnectionOptions, "target"> & {number: number,
   *   mediaOf: (peerId: string) => MediaState | undefined, restart: () => void}} options
   */
  constructor({number, mediaOf, restart, ...options}) {
    super({target: SUBSCRIBE, ...options});
    this.number = number;
    this.mark = {connection: number}; // so that what is late is not taken for another one's
    this.mediaOf = mediaOf;
    this.restart = restart;
  }

  /** Whose media was seen. @returns {ReadonlySet<string>} */
  get arrived() {
    return this.#arrivals.arrived;
  }

  /** @param {RTCSessionDescriptionInit} offer @param {SfuStream[]} streams */
  receiveOffer(offer, streams) {
    return this.inLine(async () => {
      const answer = this.#repeated(offer) ?? (await this.#answer(offer));
      this.isAnswered = true;
      this.#sort(streams);
      this.describe(answer);
    });
  }

  /** Another one has taken our place, and what the SFU hears from now on is about that one. */
  retire() {
    this.send = () => {};
    this.restart = () => {};
  }

  /** @override */
  close() {
    super.close();
    this.#arrivals.close();
  }

  /** What we have answered to this very offer, if it is the last one. @param {RTCSessionDescriptionInit} offer */
  #repeated({sdp}) {
    return this.pc.signalingState === "stable" && this.#last?.offer === sdp ? this.#last?.answer : undefined;
  }

  /** @param {RTCSessionDescriptionInit} offer @returns {Promise<RTCSessionDescriptionInit>} */
  async #answer(offer) {
    await this.setRemote(offer);
    await this.pc.setLocalDescription();
    const answer = {type: /** @type {const} */ ("answer"), sdp: compact(this.pc.localDescription?.sdp ?? "")};
    this.#last = {offer: offer.sdp, answer};
    return answer;
  }

  /** Whose are the tracks. @param {SfuStream[]} streams */
  #sort(streams) {
    const tracks = new Map(this.pc.getTransceivers().map(({mid, receiver}) => [mid, receiver.track]));
    /** @type {Map<string, MediaStreamTrack[]>} */
    const theirs = new Map();
    for (const {mid, peerId} of streams) {
      const track = tracks.get(mid);
      if (track) theirs.set(peerId, [...(theirs.get(peerId) ?? []), track]);
    }
    const gone = [...this.streams.keys()].filter((id) => !theirs.has(id));
    for (const id of gone) this.#forget(id);
    const changed = [...theirs].filter(([id, owned]) => this.#give(id, owned)).map(([id]) => id);
    if (gone.length || changed.length) this.#dispatch("streams", [...gone, ...changed]);
  }

  /** @param {string} id */
  #forget(id) {
    this.streams.delete(id);
    this.#arrivals.forget(id);
  }

  /** @param {string} id @param {MediaStreamTrack[]} tracks @returns {boolean} whether that is news */
  #give(id, tracks) {
    const stream = this.streams.get(id) ?? new MediaStream();
    const before = stream.getTracks();
    const kept = before.filter((track) => tracks.includes(track));
    if (this.streams.has(id) && kept.length === before.length && kept.length === tracks.length) return false;
    for (const track of before) if (!kept.includes(track)) stream.removeTrack(track);
    for (const track of tracks) if (!kept.includes(track)) stream.addTrack(track);
    this.streams.set(id, stream);
    if (!kept.length) this.#arrivals.expect(id);
    return true;
  }

  /** @param {string[]} ids */
  async #look(ids) {
    if (this.state !== "connected") return [];
    const flows = flowing(await this.pc.getStats());
    return ids.filter((id) => hasArrived(this.mediaOf(id), this.streams.get(id)?.getTracks() ?? [], flows));
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
