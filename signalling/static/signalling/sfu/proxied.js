/**
 * The media of a room through an SFU behind the server (PROTOCOL.md, "SFU mode"): one connection
 * sends, the other one receives every peer. No DOM. Knows nothing about room modes: room/switch.js
 * decides which path a peer is shown from. types.js describes the interface.
 */
import {PUBLISH, SUBSCRIBE} from "./addresses.js";
import {registerProvider} from "./providers.js";
import {Publisher} from "./publisher.js";
import {Subscription} from "./subscription.js";

/** @import {SfuStream} from "../client/protocol.js" */
/** @import {PeerState} from "../rtc/ice.js" */
/** @import {Kind} from "../rtc/senders.js" */
/** @import {SfuOptions, SfuSession} from "./types.js" */
/**
 * @typedef {{offer: RTCSessionDescriptionInit, streams?: SfuStream[], connection?: number}} Offer
 */

/** How long a replaced connection is kept for peers whose media has not arrived on the new one. */
const PREVIOUS_TIMEOUT = 10_000;

/** @implements {SfuSession} */
export class ProxiedSfu extends EventTarget {
  /** What to show, by peer id. @type {Map<string, MediaStream>} */
  streams = new Map();
  /** @type {Subscription | null} */
  #current = null;
  /** Kept until the current one carries every peer. @type {Subscription | null} */
  #previous = null;
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
    if (this.#previous?.state === "connected") return "connected";
    return this.#current?.state ?? "connecting";
  }

  /** There is nothing to receive while no other peer publishes. */
  get isHealthy() {
    return this.publishing === "connected" && (this.#current?.state ?? "connected") === "connected";
  }

  /** Never: the ICE of both connections can always be restarted. */
  get hasFailed() {
    return false;
  }

  get arrived() {
    return new Set([...this.streams.keys()].filter((id) => this.#subscriptionFor(id)?.arrived.has(id)));
  }

  get connections() {
    return [this.publisher, this.#current, this.#previous].flatMap((connection) => connection?.pc ?? []);
  }

  start() {
    this.publisher.start();
  }

  /**
   * Handle a message from one of the two reserved ids.
   * @param {string} event
   * @param {any} data
   * @returns {Promise<void> | undefined}
   */
  receive(event, {fromPeerId, ...data}) {
    const isForPublisher = fromPeerId === PUBLISH;
    if (event === "webrtc:answer" && isForPublisher) return this.publisher.receiveAnswer(data.answer);
    if (event === "webrtc:offer" && fromPeerId === SUBSCRIBE) return this.#receiveOffer(data);
    const connection = isForPublisher ? this.publisher : this.#current;
    if (event === "webrtc:ice") return connection?.receiveCandidate(data.candidate);
  }

  /** @param {Kind} kind */
  replaceTrack(kind) {
    return this.publisher.senders.replaceTrack(kind);
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.iceServers = iceServers;
    for (const connection of [this.publisher, this.#current]) connection?.setIceServers(iceServers);
  }

  /** @param {boolean} gap */
  recover(gap) {
    if (!gap) return;
    this.publisher.repeatOffer();
    this.options.restart(); // makes the SFU send another offer, in case the last one is lost
  }

  close() {
    clearTimeout(this.#timer);
    for (const connection of [this.publisher, this.#current, this.#previous]) connection?.close();
    this.#current = this.#previous = null;
    this.streams.clear();
  }

  /** @param {Offer} data */
  #receiveOffer({offer, streams = [], connection = 0}) {
    if (connection !== this.#current?.number) this.#replaceCurrent(connection);
    return this.#current?.receiveOffer(offer, streams);
  }

  /** Create another connection, which the SFU has offered. @param {number} number */
  #replaceCurrent(number) {
    const before = this.#current;
    // Of three connections, close the middle one if it carries no peer yet.
    if (before && this.#previous && !before.arrived.size) before.close();
    else if (before) this.#keepAsPrevious(before);
    const {send, mediaOf, restart} = this.options;
    const next = new Subscription({number, send, mediaOf, restart, iceServers: this.iceServers});
    this.#current = next;
    for (const event of ["streams", "arrived", "state"])
      next.addEventListener(event, (occurred) => {
        this.#onEvent(next, event, /** @type {CustomEvent} */ (occurred).detail);
      });
  }

  /** @param {Subscription} before */
  #keepAsPrevious(before) {
    before.retire();
    this.#previous?.close();
    this.#previous = before;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** @param {Subscription} subscription @param {string} event @param {any} detail */
  #onEvent(subscription, event, detail) {
    if (subscription !== this.#current && subscription !== this.#previous) return;
    const changed = event === "streams" ? /** @type {string[]} */ (detail) : [];
    this.#updateStreams(changed.filter((id) => this.#subscriptionFor(id) === subscription));
    if (event === "arrived") this.dispatchEvent(new CustomEvent("arrived", {detail}));
    if (event === "state") this.dispatchEvent(new Event("state"));
    this.#retirePrevious();
  }

  /** @param {string[]} [changed] the ids of peers whose tracks have changed within their stream */
  #updateStreams(changed = []) {
    const offered = [this.#current, this.#previous].flatMap((one) => [...(one?.streams.keys() ?? [])]);
    for (const id of new Set([...this.streams.keys(), ...offered])) {
      const before = this.streams.get(id);
      const stream = this.#subscriptionFor(id)?.streams.get(id);
      if (stream) this.streams.set(id, stream);
      else this.streams.delete(id);
      if (stream !== before || changed.includes(id))
        this.dispatchEvent(new CustomEvent("stream", {detail: {peerId: id, stream: stream ?? null}}));
    }
  }

  /**
   * Return the connection to show a peer from: the previous one until media has arrived on the
   * current.
   * @param {string} id
   */
  #subscriptionFor(id) {
    if (this.#current?.arrived.has(id)) return this.#current;
    const hasLeft = this.#current?.isAnswered && !this.#current.streams.has(id);
    return this.#previous?.arrived.has(id) && !hasLeft ? this.#previous : this.#current;
  }

  /** Close the previous connection once no peer is shown from it. */
  #retirePrevious() {
    if (!this.#previous || this.#current?.state !== "connected") return;
    const hasAll = [...this.#current.streams.keys()].every((id) => this.#current?.arrived.has(id));
    if (hasAll) this.#closePrevious();
    else this.#timer ??= setTimeout(() => this.#closePrevious(), PREVIOUS_TIMEOUT);
  }

  #closePrevious() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#previous?.close();
    this.#previous = null;
    this.#updateStreams();
    this.dispatchEvent(new Event("state"));
  }
}

// Earlier servers call it "janus".
for (const name of ["proxied", "janus"]) registerProvider(name, (_access, options) => new ProxiedSfu(options));
