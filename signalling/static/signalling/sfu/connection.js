/**
 * One of our two connections to an SFU that is reached through the server (PROTOCOL.md, "SFU mode"). Only one side of
 * each ever offers, so nothing collides; what comes is dealt with in the order in which it came.
 *
 * Events: "state" when `state` changes.
 */
import {EarlyCandidates, readCandidate} from "../rtc/candidates.js";
import {IceWatch} from "../rtc/ice.js";

/** @typedef {(targetPeerId: string, event: string, data: object) => void} Send */
/** @typedef {{target: string, iceServers: RTCIceServer[], send: Send}} ConnectionOptions */

/** Whether this is no peer but the way to an SFU. @param {string} id */
export const isReserved = (id) => id.startsWith("sfu:");

export class SfuConnection extends EventTarget {
  /** What all that we send of it says besides. @type {{connection?: number}} */
  mark = {};
  #early = new EarlyCandidates();
  #line = Promise.resolve();
  #ice = new IceWatch({restart: () => this.restart(), changed: () => this.dispatchEvent(new Event("state"))});

  /** @param {ConnectionOptions} options */
  constructor({target, iceServers, send}) {
    super();
    this.target = target;
    this.send = send;
    this.pc = new RTCPeerConnection({iceServers, bundlePolicy: "max-bundle"});
    this.pc.onicecandidate = ({candidate}) => this.#sendCandidate(candidate);
    this.#ice.followWhole(this.pc);
  }

  get state() {
    return this.#ice.state;
  }

  /** What to do when ICE has failed: each side has its own way. @abstract */
  restart() {}

  /** @param {RTCIceServer[]} iceServers used from the next ICE restart on */
  setIceServers(iceServers) {
    this.pc.setConfiguration({...this.pc.getConfiguration(), iceServers});
  }

  /** @param {import("../client/protocol.js").WireCandidate} candidate */
  receiveCandidate(candidate) {
    const init = readCandidate(candidate);
    return this.inLine(async () => {
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
   * Do this when all that came before is done. A failure of one is none of the next.
   * @param {() => Promise<void>} work
   * @returns {Promise<void>}
   */
  inLine(work) {
    const done = this.#line.then(() => this.#unlessClosed(work));
    this.#line = done.catch(() => {});
    return done;
  }

  /** @param {RTCSessionDescriptionInit} description */
  describe(description) {
    const type = /** @type {"offer" | "answer"} */ (description.type);
    this.send(this.target, `webrtc:${type}`, {targetPeerId: this.target, [type]: description, ...this.mark});
  }

  /** @param {RTCSessionDescriptionInit} description */
  async setRemote({type, sdp}) {
    await this.pc.setRemoteDescription({type, sdp});
    // One that is no good must not cost us the answer.
    await Promise.allSettled(this.#early.take().map((init) => this.pc.addIceCandidate(init)));
  }

  /** @param {() => Promise<void>} work */
  async #unlessClosed(work) {
    try {
      if (this.state !== "closed") await work();
    } catch (error) {
      // The connection was closed under what we did with it.
      if (/** @type {string} */ (this.state) !== "closed") throw error;
    }
  }

  /** @param {RTCIceCandidate | null} candidate */
  #sendCandidate(candidate) {
    const data = {targetPeerId: this.target, candidate: candidate?.toJSON() ?? null, ...this.mark};
    this.send(this.target, "webrtc:ice", data);
  }
}
