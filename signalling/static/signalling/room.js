/**
 * One room as we see it: who is in it, and where each one's media comes from. No DOM. Today every stream comes from
 * a Peer; whatever else may carry media later only has to set a participant's `stream`.
 *
 * Events: "joined", "changed" (name, media, state or stream) and "left" with the participant as detail; "failed" with
 * a SignallingError, when the server would not relay what a connection cannot do without.
 */
import {SignallingError} from "./client.js";
import {Peer} from "./peer.js";

/** @typedef {import("./client.js").SignallingClient} SignallingClient */
/** @typedef {import("./protocol.js").MediaState} MediaState */

/**
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name
 * @property {MediaState} media what they say that they send; a seed-style client says nothing
 * @property {import("./peer.js").PeerState} state
 * @property {MediaStream} stream
 */

const RETRIES = 3; // of an offer or an answer that the server asked us to send later

export class Room extends EventTarget {
  /** @type {Map<string, Peer>} */
  peers = new Map();
  /** @type {Map<string, Participant>} */
  participants = new Map();
  /** @type {RTCIceServer[]} */
  #iceServers = [];

  /**
   * @param {SignallingClient} client
   * @param {import("./media.js").Media} media
   */
  constructor(client, media) {
    super();
    this.client = client;
    this.media = media;
    this.#listen();
  }

  /** @param {string} code @returns {Promise<import("./protocol.js").RoomJoined>} rejected with a SignallingError */
  async join(code) {
    const joined = await this.client.join(code);
    this.announce();
    return joined;
  }

  /** Tell the others what we send. */
  announce() {
    this.client.send("peer:update", {media: this.media.state});
  }

  leave() {
    this.client.send("leave:room");
    this.close();
  }

  close() {
    for (const peer of this.peers.values()) peer.close();
    this.peers.clear();
    this.participants.clear();
  }

  #listen() {
    const {client} = this;
    client.on("room:joined", (joined) => this.#enter(joined));
    client.on("peer:joined", ({peerId: id, ...entry}) => this.#add({id, ...entry}, false).waitForOffer());
    client.on("peer:left", ({peerId}) => this.#remove(peerId));
    client.on("peer:updated", ({peerId, ...update}) => this.#update(peerId, update));
    client.on("webrtc:offer", ({fromPeerId, offer}) => this.#describe(fromPeerId, "offer", offer));
    client.on("webrtc:answer", ({fromPeerId, answer}) => this.#describe(fromPeerId, "answer", answer));
    client.on("webrtc:ice", ({fromPeerId, candidate}) =>
      this.#guard(this.peers.get(fromPeerId)?.receiveCandidate(candidate)),
    );
    client.on("ice:servers", ({iceServers}) => this.#setIceServers(iceServers));
    this.media.addEventListener("track", (event) => this.#sendTrack(/** @type {CustomEvent} */ (event).detail));
  }

  /** The newcomer offers, and is polite: those who were there need not know which of their offers collide. */
  #enter(/** @type {import("./protocol.js").RoomJoined} */ {peers, iceServers = []}) {
    this.#iceServers = iceServers;
    for (const entry of peers) this.#add(entry, true).start();
  }

  /** @param {import("./protocol.js").PeerEntry} entry @param {boolean} polite */
  #add({id, userInfo, media}, polite) {
    this.#remove(id);
    const peer = new Peer({
      id,
      polite,
      iceServers: this.#iceServers,
      media: this.media,
      send: (event, data) => this.#relay(id, event, data),
    });
    const {username, displayName} = userInfo;
    // Both, for anybody may call himself by another's name.
    const name = displayName && displayName !== username ? `${displayName} (${username})` : username;
    const participant = {id, name, media: media ?? {}, state: peer.state, stream: peer.stream};
    this.peers.set(id, peer);
    this.participants.set(id, participant);
    peer.addEventListener("stream", () => this.#changed(participant));
    peer.addEventListener("state", () => this.#changed(Object.assign(participant, {state: peer.state})));
    this.#dispatch("joined", participant);
    return peer;
  }

  /** @param {string} id */
  #remove(id) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.participants.delete(id);
    this.peers.get(id)?.close();
    this.peers.delete(id);
    this.#dispatch("left", participant);
  }

  /** @param {string} id @param {{media?: MediaState | null, displayName?: string}} update */
  #update(id, {media, displayName}) {
    const participant = this.participants.get(id);
    if (!participant) return;
    if (media) participant.media = {...participant.media, ...media};
    if (displayName) participant.name = displayName;
    this.#changed(participant);
  }

  /** @param {string} id @param {"offer" | "answer"} type @param {RTCSessionDescriptionInit} description */
  #describe(id, type, {sdp}) {
    this.#guard(this.peers.get(id)?.receiveDescription({type, sdp}));
  }

  /** What another peer sends may be nonsense; that must not cost us the call. @param {Promise<void> | undefined} work */
  #guard(work) {
    work?.catch((error) => console.warn("signalling: what a peer sent could not be used.", error));
  }

  /**
   * Descriptions are worth an answer from the server, candidates are many and can be spared.
   * @param {string} id @param {string} event @param {object} data
   */
  #relay(id, event, data) {
    if (event === "webrtc:ice") this.client.send(event, data);
    else this.#relayDescription(id, event, data, RETRIES);
  }

  /** @param {string} id @param {string} event @param {object} data @param {number} retries @returns {Promise<void>} */
  async #relayDescription(id, event, data, retries) {
    const peer = this.peers.get(id);
    try {
      await this.client.request(event, data);
    } catch (error) {
      if (!(error instanceof SignallingError)) throw error;
      // They left a moment ago, or our own connection is lost: both are told by an event of their own.
      if (["peer_not_found", "not_in_room", "closed"].includes(error.code)) return;
      if (error.retryAfter === undefined || retries === 0) return this.#failed(error);
      await new Promise((resolve) => setTimeout(resolve, Number(error.retryAfter) * 1000));
      if (peer && this.peers.get(id) === peer) await this.#relayDescription(id, event, data, retries - 1);
    }
  }

  /** @param {SignallingError} error */
  #failed(error) {
    if (this.client.connected) this.#dispatch("failed", error);
  }

  /** @param {RTCIceServer[]} iceServers */
  #setIceServers(iceServers) {
    this.#iceServers = iceServers;
    for (const peer of this.peers.values()) peer.setIceServers(iceServers);
  }

  /** @param {import("./media.js").Kind} kind */
  #sendTrack(kind) {
    for (const peer of this.peers.values()) peer.replaceTrack(kind);
    this.announce();
  }

  /** @param {Participant} participant */
  #changed(participant) {
    if (this.participants.get(participant.id) === participant) this.#dispatch("changed", participant);
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
