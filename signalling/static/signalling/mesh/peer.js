/**
 * One remote peer of a mesh: an RTCPeerConnection that both sides may renegotiate at any time. This is the
 * "perfect negotiation" of WebRTC 1.0, section 10.7 (https://www.w3.org/TR/webrtc/#perfect-negotiation-example),
 * plus what that example leaves out: early candidates, candidates of seed-style clients, ICE restarts, and signalling
 * that goes away for a while. The media does not depend on it, and nothing here is torn down because of it.
 *
 * Events: "stream" when media arrives or changes, "state" when `state` does.
 */
import {EarlyCandidates, readCandidate} from "../rtc/candidates.js";
import {IceWatch} from "../rtc/ice.js";
import {Senders} from "../rtc/senders.js";

export const OFFER_PATIENCE = 4_000; // how long to wait for a newcomer's offer before we make one

/** @typedef {import("../rtc/ice.js").PeerState} PeerState */
/** @typedef {(event: "webrtc:offer" | "webrtc:answer" | "webrtc:ice", data: object) => void} Send */

export class Peer extends EventTarget {
  /** What the other side sends: at most one audio and one video track. */
  stream = new MediaStream();

  #makingOffer = false;
  #ignoreOffer = false;
  #isSettingRemoteAnswerPending = false;
  #early = new EarlyCandidates();
  #ice = new IceWatch({restart: () => this.pc.restartIce(), changed: () => this.dispatchEvent(new Event("state"))});
  /** @type {RTCSessionDescriptionInit | null} ours, while nobody has answered it */
  #openOffer = null;
  /** @type {string | undefined} the other side's last offer that we have answered */
  #answeredOffer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {string} options.id
   * @param {boolean} options.polite the newcomer of a pair is the polite side
   * @param {RTCIceServer[]} [options.iceServers]
   * @param {import("../rtc/senders.js").LocalMedia} options.media what we send; null tracks are sent later with `replaceTrack`
   * @param {Send} options.send
   */
  constructor({id, polite, iceServers = [], media, send}) {
    super();
    this.id = id;
    this.polite = polite;
    this.media = media;
    this.send = send;
    this.pc = this.#connection(iceServers);
    this.senders = new Senders(this.pc, media);
  }

  /** @returns {PeerState} */
  get state() {
    return this.#ice.state;
  }

  /** Whether nothing was said yet: we wait for an offer. */
  get isIdle() {
    return !this.pc.remoteDescription && !this.pc.getTransceivers().length;
  }

  /** Offer now. */
  start() {
    clearTimeout(this.#timer);
    this.senders.open();
  }

  /** The newcomer offers; but a client that knows only the seed's events may itself be waiting for us. */
  waitForOffer() {
    this.#timer = setTimeout(() => {
      if (!this.pc.remoteDescription) this.start();
    }, OFFER_PATIENCE);
  }

  /** @param {RTCSessionDescriptionInit} description an offer or an answer */
  async receiveDescription(description) {
    if (this.#isAnswered(description)) return this.#sendDescription();
    const stable = this.pc.signalingState === "stable" || this.#isSettingRemoteAnswerPending;
    const readyForOffer = !this.#makingOffer && stable;
    const offerCollision = description.type === "offer" && !readyForOffer;
    this.#ignoreOffer = !this.polite && offerCollision;
    if (this.#ignoreOffer) return;
    if (offerCollision && !this.pc.remoteDescription) this.#beginAgain();
    // The answer to an offer that we have rolled back since: there is nothing left that it could answer.
    if (description.type === "answer" && this.pc.signalingState !== "have-local-offer") return;

    this.#isSettingRemoteAnswerPending = description.type === "answer";
    try {
      await this.pc.setRemoteDescription(description); // rolls our own offer back where we are polite
    } finally {
      this.#isSettingRemoteAnswerPending = false;
    }
    this.#openOffer = null;
    const early = this.#early.take().map((init) => this.#addCandidate(init));
    if (description.type === "offer") await this.#answer(description);
    await Promise.all(early);
  }

  /** @param {RTCIceCandidateInit | string | null} candidate */
  async receiveCandidate(candidate) {
    const init = readCandidate(candidate);
    if (this.pc.remoteDescription) await this.#addCandidate(init);
    // Candidates of an offer that was ignored would fit no later description.
    else if (!this.#ignoreOffer) this.#early.keep(init);
  }

  /** Send another track of this kind, or none; needs no negotiation. @param {import("../rtc/senders.js").Kind} kind */
  async replaceTrack(kind) {
    await this.senders.replaceTrack(kind);
  }

  /**
   * Our signalling is back: mend what suffered meanwhile, and leave a connection that works alone.
   * @param {boolean} gap whether something that was sent to us may be lost
   */
  recover(gap) {
    if (gap) this.repeatOffer();
    if (gap && !this.pc.localDescription) this.start(); // the offer that we waited for may be what was lost
    else if (gap || this.#isBroken()) this.#ice.restart();
  }

  /** Offer the same once more, for the answer may have been lost, or the offer; whoever has answered it answers again. */
  repeatOffer() {
    if (this.#openOffer) this.send("webrtc:offer", {targetPeerId: this.id, offer: this.#openOffer});
  }

  /** @param {RTCIceServer[]} iceServers used from the next ICE restart on */
  setIceServers(iceServers) {
    this.pc.setConfiguration({...this.pc.getConfiguration(), iceServers});
  }

  close() {
    clearTimeout(this.#timer);
    this.pc.close();
    this.#ice.close();
  }

  /** @param {RTCIceServer[]} iceServers */
  #connection(iceServers) {
    const pc = new RTCPeerConnection({iceServers});
    pc.onnegotiationneeded = () => this.#offer(pc);
    pc.onicecandidate = ({candidate}) => this.#sendCandidate(candidate);
    pc.ontrack = ({track}) => this.#receive(track);
    this.#ice.follow(pc);
    return pc;
  }

  /**
   * Give way before anything was agreed, with a new connection in place of a rollback. A rollback would leave our
   * transceivers over: JSEP (RFC 9429, 5.10) reuses only what addTrack() made, and stopped ones without a media section
   * make Chromium fire "negotiationneeded" for ever.
   */
  #beginAgain() {
    const {iceServers} = this.pc.getConfiguration();
    this.pc.onicecandidate = null;
    this.pc.close();
    this.pc = this.#connection(iceServers ?? []);
    this.senders = this.senders.of(this.pc);
    this.#openOffer = null;
    this.#makingOffer = false;
  }

  /** @param {RTCPeerConnection} pc the one that asks; it may have been replaced meanwhile */
  async #offer(pc) {
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      if (pc === this.pc) this.#sendDescription();
    } catch (error) {
      if (pc === this.pc && this.state !== "closed") throw error;
    } finally {
      if (pc === this.pc) this.#makingOffer = false;
    }
  }

  /** @param {RTCSessionDescriptionInit} offer */
  async #answer({sdp}) {
    clearTimeout(this.#timer);
    this.senders.adoptOffered();
    await this.pc.setLocalDescription();
    this.#answeredOffer = sdp;
    this.#sendDescription();
  }

  /** Whether this is an offer that they repeat, for they have no answer. @param {RTCSessionDescriptionInit} description */
  #isAnswered({type, sdp}) {
    const isOurTurnOver = this.pc.signalingState === "stable" && this.pc.localDescription?.type === "answer";
    return isOurTurnOver && type === "offer" && sdp === this.#answeredOffer;
  }

  #sendDescription() {
    const description = this.pc.localDescription?.toJSON();
    if (!description || this.state === "closed") return;
    const type = /** @type {"offer" | "answer"} */ (description.type);
    this.#openOffer = type === "offer" ? description : null;
    this.send(`webrtc:${type}`, {targetPeerId: this.id, [type]: description});
  }

  /** @param {RTCIceCandidate | null} candidate */
  #sendCandidate(candidate) {
    // Always the whole RTCIceCandidateInit: the bare line says neither its media section nor its ICE generation.
    // null, the end of gathering, is not sent: `new RTCIceCandidate(null)` of a simple client would throw.
    if (candidate) this.send("webrtc:ice", {targetPeerId: this.id, candidate: candidate.toJSON()});
  }

  /** @param {RTCIceCandidateInit} init */
  async #addCandidate(init) {
    try {
      await this.pc.addIceCandidate(init);
    } catch (error) {
      if (!this.#ignoreOffer && this.state !== "closed") throw error;
    }
  }

  /** @param {MediaStreamTrack} track */
  #receive(track) {
    for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.stream.removeTrack(old);
    this.stream.addTrack(track);
    this.dispatchEvent(new Event("stream"));
  }

  /** Where an offer is open, a restart is under way or begins with the answer. */
  #isBroken() {
    return ["failed", "disconnected"].includes(this.pc.iceConnectionState) && this.pc.signalingState === "stable";
  }
}
