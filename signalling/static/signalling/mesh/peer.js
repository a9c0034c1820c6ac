/**
 * One remote peer of a mesh: an RTCPeerConnection that both sides may renegotiate at any time.
 * Implements the "perfect negotiation" of WebRTC 1.0, section 10.7
 * (https://www.w3.org/TR/webrtc/#perfect-negotiation-example), and adds what that example leaves
 * out: early candidates, bare candidate lines, ICE restarts, and signalling that is interrupted. An
 * interruption closes no connection: media does not depend on signalling.
 *
 * Events: "stream" when media is added or replaced, "state" when `state` changes.
 */
import {EarlyCandidates, readCandidate} from "../rtc/candidates.js";
import {IceMonitor} from "../rtc/ice.js";
import {Senders} from "../rtc/senders.js";
import {LazyConnection} from "./lazy-connection.js";

/** @import {WireCandidate} from "../client/protocol.js" */
/** @import {PeerState} from "../rtc/ice.js" */
/** @import {Kind, LocalMedia} from "../rtc/senders.js" */
/**
 * @typedef {(event: "webrtc:offer" | "webrtc:answer" | "webrtc:ice", data: object) => void} Send
 */

const OFFER_TIMEOUT = 4_000; // how long to wait for a newcomer's offer before we send our own

export class Peer extends EventTarget {
  /** What the peer sends: at most one audio and one video track. */
  stream = new MediaStream();

  #makingOffer = false;
  #ignoreOffer = false;
  #isSettingRemoteAnswerPending = false;
  #early = new EarlyCandidates();
  #ice = new IceMonitor({
    restart: () => this.#pc?.restartIce(),
    stateChanged: () => this.dispatchEvent(new Event("state")),
  });
  /** Our offer, until it is answered. @type {RTCSessionDescriptionInit | null} */
  #openOffer = null;
  /** The last offer from the peer that we have answered. @type {string | undefined} */
  #answeredOffer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {string} options.id
   * @param {boolean} options.polite true if we joined after the peer
   * @param {RTCIceServer[]} [options.iceServers]
   * @param {LocalMedia} options.media what we send; for null tracks call `replaceTrack` later
   * @param {Send} options.send
   */
  constructor({id, polite, iceServers = [], media, send}) {
    super();
    this.id = id;
    this.polite = polite;
    this.send = send;
    this.connection = new LazyConnection({
      iceServers,
      onCreated: (pc) => this.#listen(pc),
      createSenders: (pc) => new Senders(pc, media),
    });
  }

  /** The connection, created when an offer needs it. */
  get pc() {
    return this.connection.pc;
  }

  get #pc() {
    return this.connection.existing;
  }

  /** @returns {PeerState} */
  get state() {
    return this.#ice.state;
  }

  /** Whether negotiation has not started: we wait for an offer. */
  get isIdle() {
    return !this.#pc?.remoteDescription && !this.#pc?.getTransceivers().length;
  }

  /** Send an offer now. */
  start() {
    clearTimeout(this.#timer);
    this.connection.senders.addAll();
  }

  /**
   * Wait for the newcomer's offer. A simple client may be waiting for ours: after a while, send it.
   */
  waitForOffer() {
    this.#timer = setTimeout(() => {
      if (!this.#pc?.remoteDescription) this.start();
    }, OFFER_TIMEOUT);
  }

  /** @param {RTCSessionDescriptionInit} description an offer or an answer, final or provisional */
  async receiveDescription(description) {
    const isAnswer = description.type !== "offer";
    if (isAnswer && !this.#pc) return;
    if (this.#isRepeatedOffer(description)) return this.#sendDescription();
    const stable = this.pc.signalingState === "stable" || this.#isSettingRemoteAnswerPending;
    const offerCollision = !isAnswer && (this.#makingOffer || !stable);
    this.#ignoreOffer = !this.polite && offerCollision;
    if (this.#ignoreOffer) return;
    if (offerCollision && !this.pc.remoteDescription) this.#replaceConnection();
    // An answer to an offer that we have since rolled back.
    if (isAnswer && !["have-local-offer", "have-remote-pranswer"].includes(this.pc.signalingState)) return;

    this.#isSettingRemoteAnswerPending = isAnswer;
    try {
      await this.pc.setRemoteDescription(description); // rolls back our own offer if we are polite
    } finally {
      this.#isSettingRemoteAnswerPending = false;
    }
    this.#openOffer = null;
    const early = this.#early.take().map((init) => this.#addCandidate(init));
    if (!isAnswer) await this.#sendAnswer(description);
    await Promise.all(early);
  }

  /** @param {WireCandidate} candidate */
  async receiveCandidate(candidate) {
    const init = readCandidate(candidate);
    if (this.#pc?.remoteDescription) await this.#addCandidate(init);
    // Candidates that follow an ignored offer do not fit any later description.
    else if (!this.#ignoreOffer) this.#early.keep(init);
  }

  /** Send the current track of this kind, or none, without a negotiation. @param {Kind} kind */
  async replaceTrack(kind) {
    if (this.#pc) await this.connection.senders.replaceTrack(kind);
  }

  /**
   * Signalling is available again: repair a connection that broke during the interruption. A
   * working connection is left alone.
   * @param {boolean} gap whether messages sent to us may be lost
   */
  recover(gap) {
    if (gap) this.repeatOffer();
    if (gap && !this.#pc?.localDescription) this.start(); // the offer that we waited for may be lost
    else if (gap || this.#isBroken()) this.#ice.restart();
  }

  /** Our last description was lost on its way: send it again. */
  repeat() {
    this.#sendDescription();
  }

  /** Send an unanswered offer again. A peer that has already answered it repeats its answer. */
  repeatOffer() {
    if (this.#openOffer) this.send("webrtc:offer", {targetPeerId: this.id, offer: this.#openOffer});
  }

  close() {
    clearTimeout(this.#timer);
    this.#pc?.close();
    this.#ice.close();
  }

  /** @param {RTCPeerConnection} pc */
  #listen(pc) {
    pc.onnegotiationneeded = () => this.#sendOffer(pc);
    pc.onicecandidate = ({candidate}) => this.#sendCandidate(candidate);
    pc.ontrack = ({track}) => this.#addTrack(track);
    this.#ice.watchIce(pc);
  }

  /**
   * Give way in the first negotiation, with a new connection instead of a rollback. A rollback
   * would leave unused transceivers: JSEP (RFC 9429, 5.10) reuses only those of addTrack(), and
   * stopped ones without a media section make Chromium fire "negotiationneeded" endlessly.
   */
  #replaceConnection() {
    this.connection.replace();
    this.#openOffer = null;
    this.#makingOffer = false;
  }

  /** @param {RTCPeerConnection} pc the connection to offer, which may have been replaced by now */
  async #sendOffer(pc) {
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      if (pc === this.#pc) this.#sendDescription();
    } catch (error) {
      if (pc === this.#pc && this.state !== "closed") throw error;
    } finally {
      if (pc === this.#pc) this.#makingOffer = false;
    }
  }

  /** @param {RTCSessionDescriptionInit} offer */
  async #sendAnswer({sdp}) {
    clearTimeout(this.#timer);
    this.connection.senders.adoptOffered();
    await this.pc.setLocalDescription();
    this.#answeredOffer = sdp;
    this.#sendDescription();
  }

  /**
   * Return whether the peer repeats an offer because our answer is lost.
   * @param {RTCSessionDescriptionInit} description
   */
  #isRepeatedOffer({type, sdp}) {
    const wasAnswered = this.pc.signalingState === "stable" && this.pc.localDescription?.type === "answer";
    return wasAnswered && type === "offer" && sdp === this.#answeredOffer;
  }

  #sendDescription() {
    const description = this.#pc?.localDescription?.toJSON();
    if (!description || this.state === "closed") return;
    const type = /** @type {"offer" | "answer"} */ (description.type);
    this.#openOffer = type === "offer" ? description : null;
    this.send(`webrtc:${type}`, {targetPeerId: this.id, [type]: description});
  }

  /** @param {RTCIceCandidate | null} candidate */
  #sendCandidate(candidate) {
    // Send the whole RTCIceCandidateInit: the bare line lacks the media section and ICE generation.
    // Don't send null, the end of candidates: `new RTCIceCandidate(null)` throws in simple clients.
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
  #addTrack(track) {
    for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.stream.removeTrack(old);
    this.stream.addTrack(track);
    this.dispatchEvent(new Event("stream"));
  }

  /**
   * Return whether to restart ICE. An open offer is a restart already, or its answer starts one.
   */
  #isBroken() {
    const {iceConnectionState = "new", signalingState} = this.#pc ?? {};
    return ["failed", "disconnected"].includes(iceConnectionState) && signalingState === "stable";
  }
}
