/**
 * What we send through one RTCPeerConnection: a transceiver for each kind, whether or not there is a track for it, so
 * that turning a device on later needs no negotiation.
 *
 * @typedef {"audio" | "video"} Kind
 * @typedef {{stream: MediaStream, audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} LocalMedia
 */

const KINDS = /** @type {const} */ (["audio", "video"]);

export class Senders {
  /** @type {Partial<Record<Kind, RTCRtpTransceiver>>} */
  #transceivers = {};

  /** @param {RTCPeerConnection} pc @param {LocalMedia} media */
  constructor(pc, media) {
    this.pc = pc;
    this.media = media;
  }

  /** Have both kinds, which makes the connection offer them. */
  open() {
    for (const kind of KINDS) this.#transceivers[kind] ??= this.#add(kind);
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
  }

  /** Send another track of this kind, or none. @param {Kind} kind */
  async replaceTrack(kind) {
    await this.#transceivers[kind]?.sender.replaceTrack(this.media[kind]);
  }

  /** @param {Kind} kind */
  #add(kind) {
    const {stream, [kind]: track} = this.media;
    return this.pc.addTransceiver(track ?? kind, {direction: "sendrecv", streams: [stream]});
  }

  /** @param {Kind} kind @param {RTCRtpTransceiver} offered */
  #adopt(kind, offered) {
    if (this.#transceivers[kind] === offered) return;
    this.#transceivers[kind] = offered;
    offered.direction = "sendrecv";
    offered.sender.setStreams(this.media.stream);
    this.replaceTrack(kind);
  }
}
