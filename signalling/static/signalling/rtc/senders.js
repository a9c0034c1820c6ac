/**
 * What we send through one RTCPeerConnection: a transceiver for each kind, whether or not there is a track for it, so
 * that turning a device on later needs no negotiation.
 *
 * @typedef {"audio" | "video"} Kind
 * @typedef {{stream: MediaStream, audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} LocalMedia
 */

const KINDS = /** @type {const} */ (["audio", "video"]);

export class Senders {
  /** How much video may be sent, in kbit/s; null is as much as the browser wants. @type {number | null} */
  maxKbps = null;
  /** @type {Partial<Record<Kind, RTCRtpTransceiver>>} */
  #transceivers = {};
  #capping = Promise.resolve();

  /** @param {RTCPeerConnection} pc @param {LocalMedia} media @param {"sendrecv" | "sendonly"} [direction] */
  constructor(pc, media, direction = "sendrecv") {
    this.pc = pc;
    this.media = media;
    this.direction = direction;
  }

  /** The same for another connection. @param {RTCPeerConnection} pc */
  of(pc) {
    return Object.assign(new Senders(pc, this.media, this.direction), {maxKbps: this.maxKbps});
  }

  /** Have both kinds, which makes the connection offer them. */
  open() {
    for (const kind of KINDS) this.#transceivers[kind] ??= this.#add(kind);
    this.cap(this.maxKbps);
  }

  /** Send through the media sections that the other side has offered, whichever side first thought of them. */
  adoptOffered() {
    for (const kind of KINDS) {
      const offered = this.pc.getTransceivers().find(
        ({mid, direction, receiver}) => mid !== null && direction !== "stopped" && receiver.track.kind === kind,
      );
      if (offered) this.#adopt(kind, offered);
      else if (this.media[kind]) this.#transceivers[kind] ??= this.#add(kind);
    }
    this.cap(this.maxKbps);
  }

  /** Send another track of this kind, or none. @param {Kind} kind */
  async replaceTrack(kind) {
    await this.#transceivers[kind]?.sender.replaceTrack(this.media[kind]);
  }

  /** One after the other: parameters that were read before another change are out of date. @param {number | null} maxKbps */
  cap(maxKbps) {
    this.maxKbps = maxKbps;
    this.#capping = this.#capping.then(() => this.#cap()).catch((error) => this.#complain(error));
    return this.#capping;
  }

  async #cap() {
    const sender = this.#transceivers.video?.sender;
    const parameters = sender?.getParameters();
    const encoding = parameters?.encodings?.[0];
    const maxBitrate = this.maxKbps === null ? undefined : this.maxKbps * 1000;
    // Without an encoding nothing is negotiated yet; whoever owns us caps again when we are connected.
    if (!sender || !parameters || !encoding || encoding.maxBitrate === maxBitrate) return;
    if (maxBitrate === undefined) delete encoding.maxBitrate;
    else encoding.maxBitrate = maxBitrate;
    await sender.setParameters(parameters);
  }

  /** @param {unknown} error */
  #complain(error) {
    if (this.pc.signalingState !== "closed") console.warn("signalling: the bitrate could not be capped.", error);
  }

  /** @param {Kind} kind */
  #add(kind) {
    const {stream, [kind]: track} = this.media;
    return this.pc.addTransceiver(track ?? kind, {direction: this.direction, streams: [stream]});
  }

  /** @param {Kind} kind @param {RTCRtpTransceiver} offered */
  #adopt(kind, offered) {
    if (this.#transceivers[kind] === offered) return;
    this.#transceivers[kind] = offered;
    offered.direction = this.direction;
    offered.sender.setStreams(this.media.stream);
    this.replaceTrack(kind);
  }
}
