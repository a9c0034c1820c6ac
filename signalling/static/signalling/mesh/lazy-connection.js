/**
 * An RTCPeerConnection and its senders, created when they are first used. Browsers allow few
 * connections, and most peers in a flood of joins never negotiate.
 */
/** @import {Senders} from "../rtc/senders.js" */

export class LazyConnection {
  /** The connection, if it has been created. @type {RTCPeerConnection | null} */
  existing = null;
  /** @type {Senders | null} */
  #senders = null;
  /** @type {number | null} */
  #maxKbps = null;

  /**
   * @param {object} options
   * @param {RTCIceServer[]} options.iceServers
   * @param {(pc: RTCPeerConnection) => void} options.onCreated sets the event handlers
   * @param {(pc: RTCPeerConnection) => Senders} options.createSenders
   */
  constructor({iceServers, onCreated, createSenders}) {
    this.iceServers = iceServers;
    this.onCreated = onCreated;
    this.createSenders = createSenders;
  }

  get pc() {
    return this.existing ?? this.#create();
  }

  get senders() {
    this.#senders ??= Object.assign(this.createSenders(this.pc), {maxKbps: this.#maxKbps});
    return this.#senders;
  }

  /** Limit the video bitrate. @param {number | null} maxKbps */
  cap(maxKbps) {
    this.#maxKbps = maxKbps;
    this.#senders?.cap(maxKbps);
  }

  /** @param {RTCIceServer[]} iceServers used from the next ICE restart on */
  setIceServers(iceServers) {
    this.iceServers = iceServers;
    this.existing?.setConfiguration({...this.existing.getConfiguration(), iceServers});
  }

  /** Close the connection and create another one. */
  replace() {
    const {senders} = this;
    this.pc.onicecandidate = null;
    this.pc.close();
    this.#senders = senders.cloneFor(this.#create());
  }

  #create() {
    this.existing = new RTCPeerConnection({iceServers: this.iceServers});
    this.onCreated(this.existing);
    return this.existing;
  }
}
