/**
 * The connection that receives every peer's media from the SFU. The SFU sends the offers: a new one
 * whenever peers come or go, and the same one again if our answer is lost.
 *
 * Events: "state"; "streams" (detail: peer ids) when streams are added, changed or removed;
 * "arrived" (detail: peer id) with the first media from a peer.
 */
import {FirstMedia, activeTracks, hasArrived} from "../rtc/first-media.js";
import {compact} from "../rtc/sdp.js";
import {SUBSCRIBE} from "./addresses.js";
import {SfuConnection} from "./connection.js";

/** @import {MediaState, SfuStream} from "../client/protocol.js" */
/** @import {ConnectionOptions} from "./connection.js" */

export class Subscription extends SfuConnection {
  /** By peer id. @type {Map<string, MediaStream>} */
  streams = new Map();
  /** Whether an offer was answered, so that `streams` is complete. */
  isAnswered = false;
  /**
   * The last offer and our answer.
   * @type {{offer: string | undefined, answer: RTCSessionDescriptionInit} | null}
   */
  #last = null;
  #firstMedia = new FirstMedia((ids) => this.#findArrived(ids), (id) => this.#dispatch("arrived", id));

  /**
   * @param {Omit<ConnectionOptions, "target"> & {number: number,
   *   mediaOf: (peerId: string) => MediaState | undefined, restart: () => void}} options
   */
  constructor({number, mediaOf, restart, ...options}) {
    super({target: SUBSCRIBE, ...options});
    this.number = number;
    this.extra = {connection: number}; // the server drops what arrives late from an earlier connection
    this.mediaOf = mediaOf;
    this.restart = restart;
  }

  /** The ids of the peers whose media has arrived. @returns {ReadonlySet<string>} */
  get arrived() {
    return this.#firstMedia.arrived;
  }

  /** @param {RTCSessionDescriptionInit} offer @param {SfuStream[]} streams */
  receiveOffer(offer, streams) {
    return this.enqueue(async () => {
      const answer = this.#repeatedAnswer(offer) ?? (await this.#createAnswer(offer));
      this.isAnswered = true;
      this.#assignTracks(streams);
      this.sendDescription(answer);
    });
  }

  /** Stop sending: the SFU expects messages from another connection now. */
  retire() {
    this.send = () => {};
    this.restart = () => {};
  }

  /** @override */
  close() {
    super.close();
    this.#firstMedia.close();
  }

  /**
   * Return our answer to this offer if it is the last one again.
   * @param {RTCSessionDescriptionInit} offer
   */
  #repeatedAnswer({sdp}) {
    return this.pc.signalingState === "stable" && this.#last?.offer === sdp ? this.#last?.answer : undefined;
  }

  /** @param {RTCSessionDescriptionInit} offer @returns {Promise<RTCSessionDescriptionInit>} */
  async #createAnswer(offer) {
    await this.setRemote(offer);
    await this.pc.setLocalDescription();
    const answer = {type: /** @type {const} */ ("answer"), sdp: compact(this.pc.localDescription?.sdp ?? "")};
    this.#last = {offer: offer.sdp, answer};
    return answer;
  }

  /** Assign the tracks to the peers that send them. @param {SfuStream[]} streams */
  #assignTracks(streams) {
    const tracks = new Map(this.pc.getTransceivers().map(({mid, receiver}) => [mid, receiver.track]));
    /** @type {Map<string, MediaStreamTrack[]>} */
    const tracksOf = new Map();
    for (const {mid, peerId} of streams) {
      const track = tracks.get(mid);
      if (track) tracksOf.set(peerId, [...(tracksOf.get(peerId) ?? []), track]);
    }
    const removed = [...this.streams.keys()].filter((id) => !tracksOf.has(id));
    for (const id of removed) this.#remove(id);
    const changed = [...tracksOf].filter(([id, owned]) => this.#setTracks(id, owned)).map(([id]) => id);
    if (removed.length || changed.length) this.#dispatch("streams", [...removed, ...changed]);
  }

  /** @param {string} id */
  #remove(id) {
    this.streams.delete(id);
    this.#firstMedia.remove(id);
  }

  /**
   * @param {string} id
   * @param {MediaStreamTrack[]} tracks
   * @returns {boolean} whether they have changed
   */
  #setTracks(id, tracks) {
    const stream = this.streams.get(id) ?? new MediaStream();
    const before = stream.getTracks();
    const kept = before.filter((track) => tracks.includes(track));
    if (this.streams.has(id) && kept.length === before.length && kept.length === tracks.length) return false;
    for (const track of before) if (!kept.includes(track)) stream.removeTrack(track);
    for (const track of tracks) if (!kept.includes(track)) stream.addTrack(track);
    this.streams.set(id, stream);
    if (!kept.length) this.#firstMedia.expect(id);
    return true;
  }

  /** @param {string[]} ids */
  async #findArrived(ids) {
    if (this.state !== "connected") return [];
    const active = activeTracks(await this.pc.getStats());
    return ids.filter((id) => hasArrived(this.mediaOf(id), this.streams.get(id)?.getTracks() ?? [], active));
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
