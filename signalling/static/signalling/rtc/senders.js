/**
 * What we send through one RTCPeerConnection: a transceiver for each kind, with or without a track,
 * so that turning a device on later needs no negotiation.
 *
 * @typedef {"audio" | "video"} Kind
 * @typedef {object} LocalMedia
 * @property {MediaStream} stream
 * @property {MediaStreamTrack | null} audio
 * @property {MediaStreamTrack | null} video
 */

const KINDS = /** @type {const} */ (["audio", "video"]);

export class Senders {
  /** The bitrate limit for video in kbit/s; null for none. @type {number | null} */
  maxKbps = null;
  /** @type {Partial<Record<Kind, RTCRtpTransceiver>>} */
  #transceivers = {};
  #capping = Promise.resolve();

  /**
   * @param {RTCPeerConnection} pc
   * @param {LocalMedia} media
   * @param {"sendrecv" | "sendonly"} [direction]
   */
  constructor(pc, media, direction = "sendrecv") {
    this.pc = pc;
    this.media = media;
    this.direction = direction;
  }

  /** Return the same for another connection. @param {RTCPeerConnection} pc */
  cloneFor(pc) {
    return Object.assign(new Senders(pc, this.media, this.direction), {maxKbps: this.maxKbps});
  }

  /** Add a transceiver for both kinds, which makes the connection offer them. */
  addAll() {
    for (const kind of KINDS) this.#transceivers[kind] ??= this.#add(kind);
    this.cap(this.maxKbps);
  }

  /**
   * Send through the media sections that the other side has offered, even if we had added our own.
   */
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

  /** Send the current track of this kind, or none. @param {Kind} kind */
  async replaceTrack(kind) {
    await this.#transceivers[kind]?.sender.replaceTrack(this.media[kind]);
  }

  /**
   * Limit the video bitrate. Calls run one after the other: parameters that were read before
   * another change are out of date.
   * @param {number | null} maxKbps
   */
  cap(maxKbps) {
    this.maxKbps = maxKbps;
    this.#capping = this.#capping.then(() => this.#cap()).catch((error) => this.#warn(error));
    return this.#capping;
  }

  async #cap() {
    const sender = this.#transceivers.video?.sender;
    const parameters = sender?.getParameters();
    const encoding = parameters?.encodings?.[0];
    const maxBitrate = this.maxKbps === null ? undefined : this.maxKbps * 1000;
    // Without an encoding nothing is negotiated yet; our owner calls `cap` again once connected.
    if (!sender || !parameters || !encoding || encoding.maxBitrate === maxBitrate) return;
    if (maxBitrate === undefined) delete encoding.maxBitrate;
    else encoding.maxBitrate = maxBitrate;
    await sender.setParameters(parameters);
  }

  /** @param {unknown} error */
  #warn(error) {
    if (this.pc.signalingState !== "closed") console.warn("signalling: could not limit the bitrate", error);
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
