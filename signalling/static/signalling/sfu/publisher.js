/** What we send to the SFU. We offer: once, and again to restart ICE. Tracks come and go without any negotiation. */
import {SfuConnection} from "./connection.js";
import {Senders} from "../rtc/senders.js";

export const PUBLISH = "sfu:publish";

export class Publisher extends SfuConnection {
  /** @type {RTCSessionDescriptionInit | null} while nobody has answered it */
  #openOffer = null;

  /** @param {Omit<import("./connection.js").ConnectionOptions, "target"> & {media: import("../rtc/senders.js").LocalMedia}} options */
  constructor({media, ...options}) {
    super({target: PUBLISH, ...options});
    this.senders = new Senders(this.pc, media, "sendonly");
    this.pc.onnegotiationneeded = () => this.inLine(() => this.#offer());
  }

  start() {
    this.senders.open();
  }

  /** @override */
  restart() {
    this.pc.restartIce();
  }

  /** The same once more, for it or its answer may be lost. */
  repeatOffer() {
    if (this.#openOffer) this.describe(this.#openOffer);
  }

  /** @param {RTCSessionDescriptionInit} answer */
  receiveAnswer(answer) {
    return this.inLine(async () => {
      if (this.pc.signalingState !== "have-local-offer") return; // it came twice
      await this.setRemote(answer);
      this.#openOffer = null;
    });
  }

  async #offer() {
    await this.pc.setLocalDescription();
    if (this.pc.localDescription?.type !== "offer") return;
    this.#openOffer = this.pc.localDescription.toJSON();
    this.describe(/** @type {RTCSessionDescriptionInit} */ (this.#openOffer));
  }
}
