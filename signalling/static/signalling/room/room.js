/**
 * One room: its participants, and the source of their media. No DOM. switch.js chooses the path of
 * the media; a participant shows it in `path` and `stream`. When a socket is lost, ours or another
 * participant's, no stream ends. Participants that have left are removed once we are back.
 *
 * Events: "joined", "changed" (name, media, state, path or stream) and "left", with the participant
 * as detail; "failed" (detail: SignallingError) when the server refused to relay a description;
 * "lost" (detail: boolean) when the SFU becomes unavailable, and when it is available again.
 */
import {Outgoing} from "../client/outgoing.js";
import {Mesh} from "../mesh/mesh.js";
import {isReservedId} from "../sfu/addresses.js";
import {named, relabel} from "./names.js";
import {Switch} from "./switch.js";

/** @import {SignallingClient} from "../client/client.js" */
/** @import {SignallingError} from "../client/errors.js" */
/**
 * @import {ErrorFrame, MediaState, PeerEntry} from "../client/protocol.js"
 * @import {RoomJoined, WireCandidate} from "../client/protocol.js"
 */
/** @import {Devices} from "../rtc/devices.js" */
/** @import {Kind} from "../rtc/senders.js" */
/** @import {Participant} from "./types.js" */

export class Room extends EventTarget {
  /** @type {Map<string, Participant>} */
  participants = new Map();
  /** Our own names, as the others see them. */
  #own = named();
  #stateTimer = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);

  /**
   * @param {SignallingClient} client
   * @param {Devices} devices
   */
  constructor(client, devices) {
    super();
    this.client = client;
    this.devices = devices;
    this.outgoing = new Outgoing(client);
    const {outgoing, participants} = this;
    this.mesh = new Mesh({outgoing, media: devices, mediaOf: (id) => participants.get(id)?.media});
    this.switch = new Switch({outgoing, media: devices, mesh: this.mesh, participants});
    this.#listen();
  }

  /** The mesh connections. */
  get peers() {
    return this.mesh.peers;
  }

  /** The SFU session, if there is one. */
  get sfu() {
    return this.switch.sfu;
  }

  close() {
    this.participants.clear();
    this.switch.close();
    this.mesh.closeAll();
  }

  #listen() {
    const {client} = this;
    client.on("closed", () => this.outgoing.pause());
    client.on("room:joined", (joined) => this.#enter(joined));
    client.on("peer:joined", ({peerId: id, ...entry}) => this.#refresh({id, ...entry}, false));
    client.on("peer:left", ({peerId}) => this.#remove(peerId));
    client.on("peer:away", ({peerId}) => this.#update(peerId, {away: true}));
    client.on("peer:back", ({peerId}) => this.#onPeerBack(peerId));
    client.on("peer:updated", ({peerId, ...update}) => this.#update(peerId, update));
    for (const event of /** @type {const} */ (["webrtc:offer", "webrtc:answer", "webrtc:ice"]))
      client.on(event, (data) => this.#warnOnFailure(this.#receive(event, data)));
    client.on("room:mode", (update) => this.switch.setMode(update));
    client.on("sfu:reset", (data) => this.switch.reset(data));
    client.on("ice:servers", ({iceServers}) => this.#setIceServers(iceServers));
    client.on("error", (frame) => this.#onError(frame));
    this.outgoing.addEventListener("failed", (event) => this.#onFailed(/** @type {CustomEvent} */ (event).detail));
    this.switch.addEventListener("changed", (event) => this.#onChanged(/** @type {CustomEvent} */ (event).detail));
    this.switch.addEventListener("lost", (event) => this.#dispatch("lost", /** @type {CustomEvent} */ (event).detail));
    this.devices.addEventListener("track", (event) => this.#sendTrack(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {RoomJoined} joined */
  #enter(joined) {
    const {peers, iceServers = [], resumed = false, gap = false} = joined;
    this.#own = named(joined.userInfo, joined.nameKeys);
    // Before `outgoing.resume`: frames that were kept for an earlier membership must not be sent.
    if (!resumed) this.switch.close();
    const present = new Set(resumed ? peers.map(({id}) => id) : []);
    for (const id of [...this.participants.keys()]) if (!present.has(id)) this.#remove(id);
    this.#setIceServers(iceServers);
    this.switch.enter(joined); // also before it: a change of the mode may make kept frames obsolete
    this.outgoing.resume();
    for (const entry of peers) {
      if (resumed) this.#refresh(entry, gap);
      else this.#add(entry, true);
    }
    this.#sendMediaState();
  }

  /**
   * Update a participant that is present, or add it: after a resume, and when one joins.
   * @param {PeerEntry} entry
   * @param {boolean} gap
   */
  #refresh(entry, gap) {
    const {id, media, userInfo, nameKeys, away = false, path} = entry;
    const {displayName = ""} = userInfo;
    if (this.participants.has(id)) this.#update(id, {media, displayName, nameKeys, away, path});
    else this.#add(entry, false); // it joined after us, so it sends the offer
    this.peers.get(entry.id)?.recover(gap);
  }

  /** @param {string} peerId */
  #onPeerBack(peerId) {
    this.#update(peerId, {away: false});
    // If its worker died, our offer may be lost; its answer would never come.
    this.peers.get(peerId)?.repeatOffer();
  }

  /** @param {PeerEntry} entry @param {boolean} isOlder */
  #add({id, userInfo, nameKeys, media, away = false, path}, isOlder) {
    /** @type {Participant} */
    const participant = {
      id,
      name: "",
      ...named(userInfo, nameKeys),
      media: media ?? {},
      state: "connecting",
      away,
      path: "mesh",
      stream: new MediaStream(),
      isOlder,
      receivesFromSfu: path === "sfu",
    };
    this.participants.set(id, participant);
    this.#label(participant);
    this.switch.add(participant);
    this.#dispatch("joined", participant);
  }

  /** @param {string} id */
  #remove(id) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.participants.delete(id);
    this.mesh.close(id);
    this.switch.update();
    this.#dispatch("left", participant);
    this.#label();
  }

  /**
   * @param {string} id
   * @param {{media?: MediaState | null, displayName?: string, nameKeys?: string[], away?: boolean,
   *   path?: "sfu"}} update
   */
  #update(id, {media, displayName, nameKeys, away, path}) {
    const participant = this.participants.get(id);
    if (!participant) return;
    if (media) participant.media = {...participant.media, ...media};
    if (displayName !== undefined) {
      Object.assign(participant, {displayName, nameKeys: nameKeys ?? null});
      this.#label(participant);
    }
    if (away !== undefined) participant.away = away;
    if (path === "sfu") participant.receivesFromSfu = true;
    this.#onChanged(participant);
    this.switch.update();
  }

  /**
   * Label everyone again, because of a change that the caller reports.
   * @param {Participant} [changed]
   */
  #label(changed) {
    for (const participant of relabel(this.participants.values(), this.#own))
      if (participant !== changed) this.#onChanged(participant);
  }

  /**
   * @param {"webrtc:offer" | "webrtc:answer" | "webrtc:ice"} event
   * @param {{fromPeerId: string, offer?: RTCSessionDescriptionInit,
   *   answer?: RTCSessionDescriptionInit, candidate?: WireCandidate}} data
   */
  #receive(event, data) {
    const {fromPeerId: id, offer, answer, candidate = null} = data;
    if (isReservedId(id)) return this.switch.receive(event, data);
    const participant = this.participants.get(id);
    // A client without SFU support sends offers in SFU mode too: open a mesh connection with it.
    if (offer && participant && !this.peers.has(id)) this.mesh.open(id, participant.isOlder);
    const peer = this.peers.get(id);
    if (event === "webrtc:ice") return peer?.receiveCandidate(candidate);
    const type = offer ? "offer" : answer?.type === "pranswer" ? "pranswer" : "answer";
    return peer?.receiveDescription({type, sdp: (offer ?? answer)?.sdp});
  }

  /**
   * Another peer may send invalid data; that must not end the call.
   * @param {Promise<void> | undefined} work
   */
  #warnOnFailure(work) {
    work?.catch((error) => console.warn("signalling: could not process a message from a peer", error));
  }

  /** Repeat what was lost or refused without an answer. @param {ErrorFrame} error */
  #onError({code, event, targetPeerId = "", retryAfter = 1}) {
    this.mesh.repeatLater(targetPeerId, retryAfter);
    if (event !== "peer:update" || code !== "rate_limited") return;
    clearTimeout(this.#stateTimer);
    this.#stateTimer = setTimeout(() => this.#sendMediaState(), retryAfter * 1000);
  }

  /** @param {{id: string, error: SignallingError}} failure */
  #onFailed({id, error}) {
    if (error.code === "peer_busy" && this.participants.get(id)?.away) return; // repeated when it is back
    if (isReservedId(id)) return; // retried later; the server reports the state of the SFU
    if (this.client.connected) this.#dispatch("failed", error);
  }

  /** @param {RTCIceServer[]} iceServers */
  #setIceServers(iceServers) {
    this.mesh.setIceServers(iceServers);
    this.switch.setIceServers(iceServers);
  }

  /** @param {Kind} kind */
  #sendTrack(kind) {
    this.mesh.replaceTrack(kind);
    this.switch.replaceTrack(kind);
    this.#sendMediaState();
  }

  #sendMediaState() {
    this.client.send("peer:update", {media: this.devices.state});
  }

  /** @param {Participant} participant */
  #onChanged(participant) {
    if (this.participants.get(participant.id) === participant) this.#dispatch("changed", participant);
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
