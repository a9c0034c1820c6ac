/**
 * The media of a room through an SFU that is reached through the server (PROTOCOL.md, "SFU mode"): one connection on
 * which we send, and one on which we receive everybody. No DOM, and nothing of modes: switch.js decides who is shown
 * from here. livekit.js is the same for an SFU that a client speaks to by itself.
 *
 * Events: "stream" (detail: {peerId, stream}; null when it is gone), "arrived" (detail: peer id) with somebody's first
 * media, "state" when `publishing` or `receiving` changes.
 */
import {PUBLISH, Publisher} from "./publisher.js";
import {SUBSCRIBE, Subscription} from "./subscription.js";

const OLD_PATIENCE = 10_000; // how long a connection that was replaced is kept for who does not arrive on the new one

/** @typedef {import("../rtc/ice.js").PeerState} PeerState */
/** @typedef {import("../client/protocol.js").SfuStream} SfuStream */
/** @typedef {{offer: RTCSessionDescriptionInit, streams?: SfuStream[], connection?: number}} Offered */

/**
 * @typedef {object} SfuOptions
 * @property {RTCIceServer[]} iceServers
 * @property {import("../rtc/senders.js").LocalMedia} media
 * @property {import("./connection.js").Send} send
 * @property {() => void} restart has the SFU restart the ICE of what it offers
 * @property {(peerId: string) => import("../client/protocol.js").MediaState | undefined} mediaOf what they say that they send
 */

export class Sfu extends EventTarget {
  /** By peer id, what to show. @type {Map<string, MediaStream>} */
  streams = new Map();
  /** @type {Subscription | null} */
  #newest = null;
  /** The one before, until the newest one carries everybody. @type {Subscription | null} */
  #old = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {SfuOptions} options */
  constructor(options) {
    super();
    this.options = options;
    this.iceServers = options.iceServers;
    const {media, send, iceServers} = options;
    this.publisher = new Publisher({media, send, iceServers});
    this.publisher.addEventListener("state", () => this.dispatchEvent(new Event("state")));
  }

  /** @returns {PeerState} */
  get publishing() {
    return this.publisher.state;
  }

  /** @returns {PeerState} */
  get receiving() {
    if (this.#old?.state === "connected") return "connected";
    return this.#newest?.state ?? "connecting";
  }

  /** Whether all is connected that should be. While nobody else sends there is nothing to receive. */
  get isWell() {
    return this.publishing === "connected" && (this.#newest?.state ?? "connected") === "connected";
  }

  /** Whether nothing mends itself any more: the ICE of both connections can always be restarted. */
  get isOver() {
    return false;
  }

  /** Whose media has arrived. @returns {Set<string>} */
  get arrived() {
    return new Set([...this.streams.keys()].filter((id) => this.#carrierOf(id)?.arrived.has(id)));
  }

  /** For tests and for debugging. */
  get connections() {
    return [this.publisher, this.#newest, this.#old].flatMap((connection) => connection?.pc ?? []);
  }

  start() {
    this.publisher.start();
  }

  /**
   * What came from one of the two ids.
   * @param {string} event
   * @param {any} data
   * @returns {Promise<void> | undefined}
   */
  receive(event, {fromPeerId, ...data}) {
    const isOurs = fromPeerId === PUBLISH;
    if (event === "webrtc:answer" && isOurs) return this.publisher.receiveAnswer(data.answer);
    if (event === "webrtc:offer" && fromPeerId === SUBSCRIBE) return this.#receiveOffer(data);
    if (event === "webrtc:ice") return (isOurs ? this.publisher : this.#newest)?.receiveCandidate(data.candidate);
  }

  /** @param {import("../rtc/senders.js").Kind} kind */
  replaceTrack(kind) {
    return this.publisher.senders.replaceTrack(kind);
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.iceServers = iceServers;
    for (const connection of [this.publisher, this.#newest]) connection?.setIceServers(iceServers);
  }

  /** Our signalling is back. @param {boolean} gap whether something that was sent to us may be lost */
  recover(gap) {
    if (!gap) return;
    this.publisher.repeatOffer();
    this.options.restart(); // the offer that may be lost is made anew with it
  }

  close() {
    clearTimeout(this.#timer);
    for (const connection of [this.publisher, this.#newest, this.#old]) connection?.close();
    this.#newest = this.#old = null;
    this.streams.clear();
  }

  /** @param {Offered} offered */
  #receiveOffer({offer, streams = [], connection = 0}) {
    if (connection !== this.#newest?.number) this.#replace(connection);
    return this.#newest?.receiveOffer(offer, streams);
  }

  /** Another connection is offered. @param {number} number */
  #replace(number) {
    const before = this.#newest;
    // Of three the middle one goes, if it has not carried anybody yet.
    if (before && this.#old && !before.arrived.size) before.close();
    else if (before) this.#keep(before);
    const {send, mediaOf, restart} = this.options;
    const next = new Subscription({number, send, mediaOf, restart, iceServers: this.iceServers});
    this.#newest = next;
    for (const event of ["streams", "arrived", "state"])
      next.addEventListener(event, (occurred) => this.#follow(next, event, /** @type {CustomEvent} */ (occurred).detail));
  }

  /** @param {Subscription} before */
  #keep(before) {
    before.retire();
    this.#old?.close();
    this.#old = before;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** @param {Subscription} subscription @param {string} event @param {any} detail */
  #follow(subscription, event, detail) {
    if (subscription !== this.#newest && subscription !== this.#old) return;
    const changed = event === "streams" ? /** @type {string[]} */ (detail) : [];
    this.#show(changed.filter((id) => this.#carrierOf(id) === subscription));
    if (event === "arrived") this.dispatchEvent(new CustomEvent("arrived", {detail}));
    if (event === "state") this.dispatchEvent(new Event("state"));
    this.#retire();
  }

  /** Bring `streams` up to date, and tell of what is another one. @param {string[]} [changed] whose tracks have changed */
  #show(changed = []) {
    const ids = new Set([...this.streams.keys(), ...[this.#newest, this.#old].flatMap((s) => [...(s?.streams.keys() ?? [])])]);
    for (const id of ids) {
      const before = this.streams.get(id);
      const stream = this.#carrierOf(id)?.streams.get(id);
      if (stream) this.streams.set(id, stream);
      else this.streams.delete(id);
      if (stream !== before || changed.includes(id))
        this.dispatchEvent(new CustomEvent("stream", {detail: {peerId: id, stream: stream ?? null}}));
    }
  }

  /** On which connection somebody is to be seen: the newest, but for who has not arrived there yet. @param {string} id */
  #carrierOf(id) {
    if (this.#newest?.arrived.has(id)) return this.#newest;
    const isGone = this.#newest?.isAnswered && !this.#newest.streams.has(id);
    return this.#old?.arrived.has(id) && !isGone ? this.#old : this.#newest;
  }

  /** Close the old connection when nobody needs it any more. */
  #retire() {
    if (!this.#old || this.#newest?.state !== "connected") return;
    const hasAll = [...this.#newest.streams.keys()].every((id) => this.#newest?.arrived.has(id));
    if (hasAll) this.#closeOld();
    else this.#timer ??= setTimeout(() => this.#closeOld(), OLD_PATIENCE);
  }

  #closeOld() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#old?.close();
    this.#old = null;
    this.#show();
    this.dispatchEvent(new Event("state"));
  }
}
