/**
 * One room as we see it: who is in it, and where each one's media comes from. No DOM. Today every stream comes from
 * a Peer; whatever else may carry media later only has to set a participant's `stream`. Neither our own loss of the
 * socket nor another's ends a stream: who is left is known when we are back.
 *
 * Events: "joined", "changed" (name, media, state or stream) and "left" with the participant as detail; "failed" with
 * a SignallingError, when the server would not relay what a connection cannot do without.
 */
import {Peer} from "./peer.js";
import {Relay} from "./relay.js";

/** @typedef {import("./client.js").SignallingClient} SignallingClient */
/** @typedef {import("./errors.js").SignallingError} SignallingError */
/** @typedef {import("./protocol.js").MediaState} MediaState */
/** @typedef {import("./protocol.js").PeerEntry} PeerEntry */

/**
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name
 * @property {MediaState} media what they say that they send; a seed-style client says nothing
 * @property {import("./peer.js").PeerState} state
 * @property {boolean} away whether they have lost their signalling and are expected back; their media may go on
 * @property {MediaStream} stream
 */

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
    this.relay = new Relay(client);
    this.#listen();
  }

  /** Tell the others what we send. */
  announce() {
    this.client.send("peer:update", {media: this.media.state});
  }

  close() {
    for (const peer of this.peers.values()) peer.close();
    this.peers.clear();
    this.participants.clear();
  }

  #listen() {
    const {client} = this;
    client.on("closed", () => this.relay.hold());
    client.on("room:joined", (joined) => this.#enter(joined));
    client.on("peer:joined", ({peerId: id, ...entry}) => this.#add({id, ...entry}, false).waitForOffer());
    client.on("peer:left", ({peerId}) => this.#remove(peerId));
    client.on("peer:away", ({peerId}) => this.#update(peerId, {away: true}));
    client.on("peer:back", ({peerId}) => this.#back(peerId));
    client.on("peer:updated", ({peerId, media, displayName: name}) => this.#update(peerId, {media, name}));
    client.on("webrtc:offer", ({fromPeerId, offer}) => this.#describe(fromPeerId, "offer", offer));
    client.on("webrtc:answer", ({fromPeerId, answer}) => this.#describe(fromPeerId, "answer", answer));
    client.on("webrtc:ice", ({fromPeerId, candidate}) =>
      this.#guard(this.peers.get(fromPeerId)?.receiveCandidate(candidate)),
    );
    client.on("ice:servers", ({iceServers}) => this.#setIceServers(iceServers));
    this.relay.addEventListener("failed", (event) => this.#failed(/** @type {CustomEvent} */ (event).detail));
    this.media.addEventListener("track", (event) => this.#sendTrack(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {import("./protocol.js").RoomJoined} joined */
  #enter({peers, iceServers = [], resumed = false, gap = false}) {
    const present = new Set(resumed ? peers.map(({id}) => id) : []);
    for (const id of [...this.peers.keys()]) if (!present.has(id)) this.#remove(id);
    this.#setIceServers(iceServers);
    this.relay.open();
    for (const entry of peers) {
      if (resumed) this.#meetAgain(entry, gap);
      // The newcomer offers, and is polite: those who were there need not know which of their offers collide.
      else this.#add(entry, true).start();
    }
    this.announce();
  }

  /** Somebody who is here when we come back: as before, or come meanwhile. @param {PeerEntry} entry @param {boolean} gap */
  #meetAgain(entry, gap) {
    const known = this.peers.get(entry.id);
    if (known) this.#update(entry.id, {media: entry.media, name: nameOf(entry.userInfo), away: entry.away ?? false});
    else this.#add(entry, false).waitForOffer(); // they are the newcomer: their offer was held for us
    this.peers.get(entry.id)?.recover(gap);
  }

  /** @param {string} peerId */
  #back(peerId) {
    this.#update(peerId, {away: false});
    // What they had not got when their worker died they never will; nor may we wait for an answer to it.
    this.peers.get(peerId)?.repeatOffer();
  }

  /** @param {PeerEntry} entry @param {boolean} polite */
  #add({id, userInfo, media, away = false}, polite) {
    this.#remove(id);
    const peer = new Peer({
      id,
      polite,
      iceServers: this.#iceServers,
      media: this.media,
      send: (event, data) => this.relay.send(id, event, data),
    });
    const participant = {id, name: nameOf(userInfo), media: media ?? {}, state: peer.state, away, stream: peer.stream};
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
    this.relay.forget(id);
    this.#dispatch("left", participant);
  }

  /** @param {string} id @param {{media?: MediaState | null, name?: string, away?: boolean}} update */
  #update(id, {media, name, away}) {
    const participant = this.participants.get(id);
    if (!participant) return;
    if (media) participant.media = {...participant.media, ...media};
    if (name) participant.name = name;
    if (away !== undefined) participant.away = away;
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

  /** @param {{id: string, error: SignallingError}} failure */
  #failed({id, error}) {
    if (error.code === "peer_busy" && this.participants.get(id)?.away) return; // offered again when they are back
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

/** Both, for anybody may call himself by another's name. @param {import("./protocol.js").UserInfo} userInfo */
function nameOf({username, displayName}) {
  return displayName && displayName !== username ? `${displayName} (${username})` : username;
}
