/**
 * One of the two connections to an SFU behind the server (PROTOCOL.md, "SFU mode"). Only one side
 * of each connection sends offers, so offers never collide. Messages are handled in the order of
 * their arrival.
 *
 * Events: "state" when `state` changes.
 */
import {EarlyCandidates, readCandidate} from "../rtc/candidates.js";
import {IceMonitor} from "../rtc/ice.js";

/** @import {WireCandidate} from "../client/protocol.js" */
/** @import {Send} from "./types.js" */
/** @typedef {{target: string, iceServers: RTCIceServer[], send: Send}} ConnectionOptions */

export class SfuConnection extends EventTarget {
  /** Added to every message that is sent. @type {{connection?: number}} */
  extra = {};
  #early = new EarlyCandidates();
  #queue = Promise.resolve();
  #ice = new IceMonitor({
    restart: () => this.restart(),
    stateChanged: () => this.dispatchEvent(new Event("state")),
  });

  /** @param {ConnectionOptions} options */
  constructor({target, iceServers, send}) {
    super();
    this.target = target;
    this.send = send;
    this.pc = new RTCPeerConnection({iceServers, bundlePolicy: "max-bundle"});
    this.pc.onicecandidate = ({candidate}) => this.#sendCandidate(candidate);
    this.#ice.watchConnection(this.pc);
  }

  get state() {
    return this.#ice.state;
  }

  /** Called when ICE has failed. @abstract */
  restart() {}

  /** @param {RTCIceServer[]} iceServers used from the next ICE restart on */
  setIceServers(iceServers) {
    this.pc.setConfiguration({...this.pc.getConfiguration(), iceServers});
  }

  /** @param {WireCandidate} candidate */
  receiveCandidate(candidate) {
    const init = readCandidate(candidate);
    return this.enqueue(async () => {
      if (this.pc.remoteDescription) await this.pc.addIceCandidate(init);
      else this.#early.keep(init);
    });
  }

  close() {
    this.pc.onicecandidate = null;
    this.pc.close();
    this.#ice.close();
  }

  /**
   * Run a task after all earlier ones. The failure of a task does not affect the next.
   * @param {() => Promise<void>} task
   * @returns {Promise<void>}
   */
  enqueue(task) {
    const done = this.#queue.then(() => this.#runUnlessClosed(task));
    this.#queue = done.catch(() => {});
    return done;
  }

  /** @param {RTCSessionDescriptionInit} description */
  sendDescription(description) {
    const type = /** @type {"offer" | "answer"} */ (description.type);
    this.send(this.target, `webrtc:${type}`, {targetPeerId: this.target, [type]: description, ...this.extra});
  }

  /** @param {RTCSessionDescriptionInit} description */
  async setRemote({type, sdp}) {
    await this.pc.setRemoteDescription({type, sdp});
    // An invalid candidate must not prevent the answer.
    await Promise.allSettled(this.#early.take().map((init) => this.pc.addIceCandidate(init)));
  }

  /** @param {() => Promise<void>} task */
  async #runUnlessClosed(task) {
    try {
      if (this.state !== "closed") await task();
    } catch (error) {
      // The task failed because the connection was closed while it ran.
      if (/** @type {string} */ (this.state) !== "closed") throw error;
    }
  }

  /** @param {RTCIceCandidate | null} candidate */
  #sendCandidate(candidate) {
    const data = {targetPeerId: this.target, candidate: candidate?.toJSON() ?? null, ...this.extra};
    this.send(this.target, "webrtc:ice", data);
  }
}
