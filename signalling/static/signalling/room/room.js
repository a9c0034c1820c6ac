/**
 * One room as we see it: who is in it, and where each one's media comes from. No DOM. Which way that comes is decided
 * in switch.js, and all that is to be seen of it are a participant's `path` and `stream`. Neither our own loss of the
 * socket nor another's ends a stream: who is left is known when we are back.
 *
 * Events: "joined", "changed" (name, media, state, path or stream) and "left" with the participant as detail; "failed"
 * with a SignallingError, when the server would not relay what a connection cannot do without; "lost" with whether the
 * media server is away.
 */
import {isReserved} from "../sfu/connection.js";
import {Mesh} from "../mesh/mesh.js";
import {Relay} from "../client/outgoing.js";
import {Switch} from "./switch.js";

/** @typedef {import("../client/client.js").SignallingClient} SignallingClient */
/** @typedef {import("../client/errors.js").SignallingError} SignallingError */
/** @typedef {import("../client/protocol.js").MediaState} MediaState */
/** @typedef {import("../client/protocol.js").PeerEntry} PeerEntry */

/** @typedef {import("./types.js").Participant} Participant */

export class Room extends EventTarget {
  /** @type {Map<string, Participant>} */
  participants = new Map();

  /**
   * @param {SignallingClient} client
   * @param {import("../rtc/devices.js").Devices} media
   */
  constructor(client, media) {
    super();
    this.client = client;
    this.media = media;
    this.relay = new Relay(client);
    const {relay, participants} = this;
    const mesh = new Mesh({relay, media, mediaOf: (id) => participants.get(id)?.media});
    this.mesh = mesh;
    this.switch = new Switch({relay, media, mesh, participants});
    this.#listen();
  }

  /** The mesh connections. */
  get peers() {
    return this.mesh.peers;
  }

  /** The connections to the SFU, where there are any. */
  get sfu() {
    return this.switch.sfu;
  }

  /** Tell the others what we send. */
  announce() {
    this.client.send("peer:update", {media: this.media.state});
  }

  close() {
    this.participants.clear();
    this.switch.close();
    this.mesh.closeAll();
  }

  #listen() {
    const {client} = this;
    client.on("closed", () => this.relay.hold());
    client.on("room:joined", (joined) => this.#enter(joined));
    client.on("peer:joined", ({peerId: id, ...entry}) => this.#add({id, ...entry}, false));
    client.on("peer:left", ({peerId}) => this.#remove(peerId));
    client.on("peer:away", ({peerId}) => this.#update(peerId, {away: true}));
    client.on("peer:back", ({peerId}) => this.#back(peerId));
    client.on("peer:updated", ({peerId, media, displayName: name, path}) => this.#update(peerId, {media, name, path}));
    for (const event of /** @type {const} */ (["webrtc:offer", "webrtc:answer", "webrtc:ice"]))
      client.on(event, (data) => this.#guard(this.#receive(event, data)));
    client.on("room:mode", (news) => this.switch.setMode(news));
    client.on("sfu:reset", (data) => this.switch.reset(data));
    client.on("ice:servers", ({iceServers}) => this.#setIceServers(iceServers));
    this.relay.addEventListener("failed", (event) => this.#failed(/** @type {CustomEvent} */ (event).detail));
    this.switch.addEventListener("changed", (event) => this.#changed(/** @type {CustomEvent} */ (event).detail));
    this.switch.addEventListener("lost", (event) => this.#dispatch("lost", /** @type {CustomEvent} */ (event).detail));
    this.media.addEventListener("track", (event) => this.#sendTrack(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {import("../client/protocol.js").RoomJoined} joined */
  #enter(joined) {
    const {peers, iceServers = [], resumed = false, gap = false} = joined;
    if (!resumed) this.switch.close(); // before `open`: what was kept for the place that we had is for nobody
    const present = new Set(resumed ? peers.map(({id}) => id) : []);
    for (const id of [...this.participants.keys()]) if (!present.has(id)) this.#remove(id);
    this.#setIceServers(iceServers);
    this.switch.enter(joined); // before what is kept is sent: some of it may be out of date with this
    this.relay.open();
    for (const entry of peers) {
      if (resumed) this.#meetAgain(entry, gap);
      else this.#add(entry, true);
    }
    this.announce();
  }

  /** Somebody who is here when we come back: as before, or come meanwhile. @param {PeerEntry} entry @param {boolean} gap */
  #meetAgain(entry, gap) {
    const {id, media, userInfo, away = false, path} = entry;
    if (this.participants.has(id)) this.#update(id, {media, name: nameOf(userInfo), away, path});
    else this.#add(entry, false); // they are the newcomer: their offer was held for us
    this.peers.get(entry.id)?.recover(gap);
  }

  /** @param {string} peerId */
  #back(peerId) {
    this.#update(peerId, {away: false});
    // What they had not got when their worker died they never will; nor may we wait for an answer to it.
    this.peers.get(peerId)?.repeatOffer();
  }

  /** @param {PeerEntry} entry @param {boolean} isOlder */
  #add({id, userInfo, media, away = false, path}, isOlder) {
    this.#remove(id);
    /** @type {Participant} */
    const participant = {
      id,
      name: nameOf(userInfo),
      media: media ?? {},
      state: "connecting",
      away,
      path: "mesh",
      stream: new MediaStream(),
      isOlder,
      reported: path === "sfu",
    };
    this.participants.set(id, participant);
    this.switch.welcome(participant);
    this.#dispatch("joined", participant);
  }

  /** @param {string} id */
  #remove(id) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.participants.delete(id);
    this.mesh.close(id);
    this.switch.settle();
    this.#dispatch("left", participant);
  }

  /** @param {string} id @param {{media?: MediaState | null, name?: string, away?: boolean, path?: "sfu"}} update */
  #update(id, {media, name, away, path}) {
    const participant = this.participants.get(id);
    if (!participant) return;
    if (media) participant.media = {...participant.media, ...media};
    if (name) participant.name = name;
    if (away !== undefined) participant.away = away;
    if (path === "sfu") participant.reported = true;
    this.#changed(participant);
    this.switch.settle();
  }

  /**
   * @param {"webrtc:offer" | "webrtc:answer" | "webrtc:ice"} event
   * @param {{fromPeerId: string, offer?: RTCSessionDescriptionInit, answer?: RTCSessionDescriptionInit,
   *   candidate?: import("../client/protocol.js").WireCandidate}} data
   */
  #receive(event, data) {
    const {fromPeerId: id, offer, answer, candidate = null} = data;
    if (isReserved(id)) return this.switch.receive(event, data);
    const participant = this.participants.get(id);
    // Who knows nothing of SFUs offers to us where there is one too: then we are a mesh with them alone.
    if (offer && participant && !this.peers.has(id)) this.mesh.open(id, participant.isOlder);
    const peer = this.peers.get(id);
    if (event === "webrtc:ice") return peer?.receiveCandidate(candidate);
    const type = offer ? "offer" : "answer";
    return peer?.receiveDescription({type, sdp: (offer ?? answer)?.sdp});
  }

  /** What another peer sends may be nonsense; that must not cost us the call. @param {Promise<void> | undefined} work */
  #guard(work) {
    work?.catch((error) => console.warn("signalling: what a peer sent could not be used.", error));
  }

  /** @param {{id: string, error: SignallingError}} failure */
  #failed({id, error}) {
    if (error.code === "peer_busy" && this.participants.get(id)?.away) return; // offered again when they are back
    if (isReserved(id)) return; // asked for again in a while, and the server says what has become of the SFU
    if (this.client.connected) this.#dispatch("failed", error);
  }

  /** @param {RTCIceServer[]} iceServers */
  #setIceServers(iceServers) {
    this.mesh.setIceServers(iceServers);
    this.switch.setIceServers(iceServers);
  }

  /** @param {import("../rtc/devices.js").Kind} kind */
  #sendTrack(kind) {
    this.mesh.replaceTrack(kind);
    this.switch.replaceTrack(kind);
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

/** Both, for anybody may call himself by another's name. @param {import("../client/protocol.js").UserInfo} userInfo */
function nameOf({username, displayName}) {
  return displayName && displayName !== username ? `${displayName} (${username})` : username;
}
