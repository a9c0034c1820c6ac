/**
 * The connection that sends to the SFU. We send the offers: one at first, and one for each ICE
 * restart. Changing tracks needs no negotiation.
 */
import {Senders} from "../rtc/senders.js";
import {PUBLISH} from "./addresses.js";
import {SfuConnection} from "./connection.js";

/** @import {LocalMedia} from "../rtc/senders.js" */
/** @import {ConnectionOptions} from "./connection.js" */

export class Publisher extends SfuConnection {
  /** Our offer, until it is answered. @type {RTCSessionDescriptionInit | null} */
  #openOffer = null;

  /** @param {Omit<ConnectionOptions, "target"> & {media: LocalMedia}} options */
  constructor({media, ...options}) {
    super({target: PUBLISH, ...options});
    this.senders = new Senders(this.pc, media, "sendonly");
    this.pc.onnegotiationneeded = () => this.enqueue(() => this.#sendOffer());
  }

  start() {
    this.senders.addAll();
  }

  /** @override */
  restart() {
    this.pc.restartIce();
  }

  /** Send an unanswered offer again: it or its answer may be lost. */
  repeatOffer() {
    if (this.#openOffer) this.sendDescription(this.#openOffer);
  }

  /** @param {RTCSessionDescriptionInit} answer */
  receiveAnswer(answer) {
    return this.enqueue(async () => {
      if (this.pc.signalingState !== "have-local-offer") return; // a duplicate
      await this.setRemote(answer);
      this.#openOffer = null;
    });
  }

  async #sendOffer() {
    await this.pc.setLocalDescription();
    if (this.pc.localDescription?.type !== "offer") return;
    this.#openOffer = this.pc.localDescription.toJSON();
    this.sendDescription(/** @type {RTCSessionDescriptionInit} */ (this.#openOffer));
  }
}
