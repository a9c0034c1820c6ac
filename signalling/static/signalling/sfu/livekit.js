/**
 * The media of a room through LiveKit, which the client speaks to by itself; the same to the outside as sfu.js. Its
 * client library is the site's: we import it from where the server says.
 */
import {Arrivals, flowing, hasArrived} from "../rtc/first-media.js";

/** @typedef {import("../rtc/ice.js").PeerState} PeerState */
/** @typedef {import("../rtc/senders.js").Kind} Kind */

/**
 * What we use of livekit-client 2.
 * @typedef {{kind: string, mediaStreamTrack: MediaStreamTrack, getRTCStatsReport(): Promise<RTCStatsReport | undefined>}} RemoteTrack
 * @typedef {object} LiveKitRoom
 * @property {(url: string, token: string) => Promise<void>} connect
 * @property {(stopTracks?: boolean) => Promise<void>} disconnect
 * @property {(event: string, listener: (...args: any[]) => void) => unknown} on
 * @property {Map<string, unknown>} remoteParticipants
 * @property {{publishTrack: (track: MediaStreamTrack, options: object) => Promise<unknown>,
 *   unpublishTrack: (track: MediaStreamTrack, stop: boolean) => Promise<unknown>}} localParticipant
 * @typedef {object} LiveKitClient
 * @property {new (options: object) => LiveKitRoom} Room
 * @property {Record<string, string>} RoomEvent
 * @property {{Source: Record<string, string>}} Track
 */

/** @type {Record<string, PeerState>} LiveKit's ConnectionState. "disconnected" is final: it tries again by itself before. */
const STATES = {connecting: "connecting", connected: "connected", signalReconnecting: "connected", reconnecting: "reconnecting"};

export class LiveKit extends EventTarget {
  /** @type {Map<string, MediaStream>} */
  streams = new Map();
  /** @type {PeerState} */
  publishing = "connecting";
  /** @type {LiveKitRoom | null} */
  #room = null;
  /** @type {LiveKitClient | null} */
  #library = null;
  /** By peer id. @type {Map<string, Set<RemoteTrack>>} */
  #tracks = new Map();
  /** What we send. @type {Partial<Record<Kind, MediaStreamTrack>>} */
  #published = {};
  #line = Promise.resolve();
  #arrivals = new Arrivals((ids) => this.#look(ids), (id) => this.#tell("arrived", id));

  /** @param {import("../client/protocol.js").SfuAccess} access @param {import("./proxied.js").SfuOptions} options */
  constructor(access, {media, mediaOf}) {
    super();
    this.access = access;
    this.media = media;
    this.mediaOf = mediaOf;
  }

  get receiving() {
    return this.publishing;
  }

  get isWell() {
    return this.publishing === "connected";
  }

  /** It has tried to reconnect, or was refused: another token may help, and time. */
  get isOver() {
    return this.publishing === "failed";
  }

  get arrived() {
    return this.#arrivals.arrived;
  }

  /** LiveKit keeps its own to itself. @returns {RTCPeerConnection[]} */
  get connections() {
    return [];
  }

  start() {
    this.#inLine(() => this.#connect());
  }

  /** Nothing of LiveKit's comes through our signalling. @returns {Promise<void> | undefined} */
  receive() {
    return undefined;
  }

  /** @param {Kind} kind */
  replaceTrack(kind) {
    return this.#inLine(() => this.#publish(kind));
  }

  setIceServers() {}

  recover() {}

  close() {
    this.publishing = "closed";
    this.#arrivals.close();
    this.streams.clear();
    this.#room?.disconnect(false).catch(() => {}); // our tracks go on: the mesh may need them
  }

  async #connect() {
    const {client = "", url = "", token = ""} = this.access;
    const library = /** @type {LiveKitClient} */ (await import(client));
    if (this.#isClosed()) return;
    const room = new library.Room({stopLocalTrackOnUnpublish: false});
    this.#library = library;
    this.#room = room;
    this.#listen(room, library.RoomEvent);
    await room.connect(url, token);
    if (this.#isClosed()) return room.disconnect(false);
    for (const id of room.remoteParticipants.keys()) this.#meet(id); // no event tells of those who were there
    for (const kind of /** @type {const} */ (["audio", "video"])) await this.#publish(kind);
    this.#setState("connected");
  }

  /** @param {LiveKitRoom} room @param {Record<string, string>} events */
  #listen(room, events) {
    /** @param {string | undefined} event @param {(...args: any[]) => void} handle */
    const on = (event = "", handle) => room.on(event, (...args) => !this.#isClosed() && handle(...args));
    on(events.TrackSubscribed, (track, _, {identity}) => this.#add(identity, track));
    on(events.TrackUnsubscribed, (track, _, {identity}) => this.#remove(identity, track));
    on(events.ParticipantConnected, ({identity}) => this.#meet(identity));
    on(events.ParticipantDisconnected, ({identity}) => this.#forget(identity));
    on(events.ConnectionStateChanged, (state) => this.#watch(state));
  }

  /** @param {string} state */
  #watch(state) {
    // Before what we send is published nobody would see us, so that is when we say that we are connected.
    if (this.publishing === "connecting" && state === "connected") return;
    this.#setState(STATES[state] ?? "failed");
  }

  /** Send what we have of this kind now. @param {Kind} kind */
  async #publish(kind) {
    const {localParticipant} = this.#room ?? {};
    const before = this.#published[kind];
    const track = this.media[kind] ?? undefined;
    if (!localParticipant || before === track) return;
    delete this.#published[kind];
    if (before) await localParticipant.unpublishTrack(before, false);
    const {Camera, Microphone} = this.#library?.Track.Source ?? {};
    if (track) await localParticipant.publishTrack(track, {source: kind === "video" ? Camera : Microphone});
    this.#published[kind] = track;
  }

  /** @param {string} id */
  #meet(id) {
    if (this.streams.has(id)) return;
    this.streams.set(id, new MediaStream());
    this.#tracks.set(id, new Set());
    this.#arrivals.expect(id);
  }

  /** @param {string} id @param {RemoteTrack} track */
  #add(id, track) {
    this.#meet(id);
    this.#tracks.get(id)?.add(track);
    this.streams.get(id)?.addTrack(track.mediaStreamTrack);
    this.#tell("stream", {peerId: id, stream: this.streams.get(id)});
  }

  /** @param {string} id @param {RemoteTrack} track */
  #remove(id, track) {
    this.#tracks.get(id)?.delete(track);
    this.streams.get(id)?.removeTrack(track.mediaStreamTrack);
    this.#tell("stream", {peerId: id, stream: this.streams.get(id) ?? null});
  }

  /** @param {string} id */
  #forget(id) {
    this.streams.delete(id);
    this.#tracks.delete(id);
    this.#arrivals.forget(id);
    this.#tell("stream", {peerId: id, stream: null});
  }

  /** @param {string[]} ids */
  async #look(ids) {
    const seen = await Promise.all(ids.map((id) => this.#hasArrived(id)));
    return ids.filter((_, index) => seen[index]);
  }

  /** @param {string} id */
  async #hasArrived(id) {
    const tracks = [...(this.#tracks.get(id) ?? [])];
    const reports = await Promise.all(tracks.map((track) => track.getRTCStatsReport()));
    const flows = new Set(reports.flatMap((report) => (report ? [...flowing(report)] : [])));
    return hasArrived(this.mediaOf(id), tracks.map((track) => track.mediaStreamTrack), flows);
  }

  /** @param {PeerState} state */
  #setState(state) {
    if (state === this.publishing || this.#isClosed()) return;
    this.publishing = state;
    this.dispatchEvent(new Event("state"));
  }

  /** One after the other; what fails is no bug of ours but a connection that cannot be had. @param {() => Promise<void>} work */
  #inLine(work) {
    this.#line = this.#line.then(() => (this.#isClosed() ? undefined : work())).catch((error) => {
      if (!this.#isClosed()) console.warn("signalling: LiveKit could not be reached.", error);
      this.#setState("failed");
    });
    return this.#line;
  }

  #isClosed() {
    return this.publishing === "closed";
  }

  /** @param {string} event @param {unknown} detail */
  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
