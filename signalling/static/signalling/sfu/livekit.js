/**
 * The media of a room through LiveKit, which the client connects to directly. types.js describes
 * the interface. The site provides the client library; the server sends the URL to load it from.
 */
import {FirstMedia, activeTracks, hasArrived} from "../rtc/first-media.js";
import {registerProvider} from "./providers.js";

/** @import {SfuAccess} from "../client/protocol.js" */
/** @import {PeerState} from "../rtc/ice.js" */
/** @import {Kind} from "../rtc/senders.js" */
/** @import {SfuOptions, SfuSession} from "./types.js" */

/**
 * The parts of livekit-client 2 that we use.
 * @typedef {object} RemoteTrack
 * @property {string} kind
 * @property {MediaStreamTrack} mediaStreamTrack
 * @property {() => Promise<RTCStatsReport | undefined>} getRTCStatsReport
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

/**
 * By LiveKit's ConnectionState. "disconnected" is final: LiveKit has tried to reconnect by then.
 * @type {Record<string, PeerState>}
 */
const STATES = {
  connecting: "connecting",
  connected: "connected",
  signalReconnecting: "connected",
  reconnecting: "reconnecting",
};

/** @implements {SfuSession} */
export class LiveKitSfu extends EventTarget {
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
  #queue = Promise.resolve();
  #firstMedia = new FirstMedia((ids) => this.#findArrived(ids), (id) => this.#dispatch("arrived", id));

  /** @param {SfuAccess} access @param {Pick<SfuOptions, "media" | "mediaOf">} options */
  constructor(access, {media, mediaOf}) {
    super();
    this.access = access;
    this.media = media;
    this.mediaOf = mediaOf;
  }

  get receiving() {
    return this.publishing;
  }

  get isHealthy() {
    return this.publishing === "connected";
  }

  /** LiveKit has given up reconnecting, or has refused us: another token may help, or time. */
  get hasFailed() {
    return this.publishing === "failed";
  }

  get arrived() {
    return this.#firstMedia.arrived;
  }

  /** LiveKit does not expose its connections. @returns {RTCPeerConnection[]} */
  get connections() {
    return [];
  }

  start() {
    this.#enqueue(() => this.#connect());
  }

  /** LiveKit has its own signalling. @returns {Promise<void> | undefined} */
  receive() {
    return undefined;
  }

  /** @param {Kind} kind */
  replaceTrack(kind) {
    return this.#enqueue(() => this.#publish(kind));
  }

  setIceServers() {}

  recover() {}

  close() {
    this.publishing = "closed";
    this.#firstMedia.close();
    this.streams.clear();
    this.#room?.disconnect(false).catch(() => {}); // keeps our tracks: the mesh may need them
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
    for (const id of room.remoteParticipants.keys()) this.#addPeer(id); // no event reports the peers before us
    for (const kind of /** @type {const} */ (["audio", "video"])) await this.#publish(kind);
    this.#setState("connected");
  }

  /** @param {LiveKitRoom} room @param {Record<string, string>} events */
  #listen(room, events) {
    /** @param {string | undefined} event @param {(...args: any[]) => void} handle */
    const on = (event = "", handle) => room.on(event, (...args) => !this.#isClosed() && handle(...args));
    on(events.TrackSubscribed, (track, _, {identity}) => this.#addTrack(identity, track));
    on(events.TrackUnsubscribed, (track, _, {identity}) => this.#removeTrack(identity, track));
    on(events.ParticipantConnected, ({identity}) => this.#addPeer(identity));
    on(events.ParticipantDisconnected, ({identity}) => this.#removePeer(identity));
    on(events.ConnectionStateChanged, (state) => this.#onStateChanged(state));
  }

  /** @param {string} state */
  #onStateChanged(state) {
    // We report "connected" once our tracks are published: no peer receives us before that.
    if (this.publishing === "connecting" && state === "connected") return;
    this.#setState(STATES[state] ?? "failed");
  }

  /** Publish our current track of this kind. @param {Kind} kind */
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
  #addPeer(id) {
    if (this.streams.has(id)) return;
    this.streams.set(id, new MediaStream());
    this.#tracks.set(id, new Set());
    this.#firstMedia.expect(id);
  }

  /** @param {string} id @param {RemoteTrack} track */
  #addTrack(id, track) {
    this.#addPeer(id);
    this.#tracks.get(id)?.add(track);
    this.streams.get(id)?.addTrack(track.mediaStreamTrack);
    this.#dispatch("stream", {peerId: id, stream: this.streams.get(id)});
  }

  /** @param {string} id @param {RemoteTrack} track */
  #removeTrack(id, track) {
    this.#tracks.get(id)?.delete(track);
    this.streams.get(id)?.removeTrack(track.mediaStreamTrack);
    this.#dispatch("stream", {peerId: id, stream: this.streams.get(id) ?? null});
  }

  /** @param {string} id */
  #removePeer(id) {
    this.streams.delete(id);
    this.#tracks.delete(id);
    this.#firstMedia.remove(id);
    this.#dispatch("stream", {peerId: id, stream: null});
  }

  /** @param {string[]} ids */
  async #findArrived(ids) {
    const arrived = await Promise.all(ids.map((id) => this.#hasArrived(id)));
    return ids.filter((_, index) => arrived[index]);
  }

  /** @param {string} id */
  async #hasArrived(id) {
    const tracks = [...(this.#tracks.get(id) ?? [])];
    const reports = await Promise.all(tracks.map((track) => track.getRTCStatsReport()));
    const active = new Set(reports.flatMap((report) => (report ? [...activeTracks(report)] : [])));
    return hasArrived(this.mediaOf(id), tracks.map((track) => track.mediaStreamTrack), active);
  }

  /** @param {PeerState} state */
  #setState(state) {
    if (state === this.publishing || this.#isClosed()) return;
    this.publishing = state;
    this.dispatchEvent(new Event("state"));
  }

  /**
   * Run tasks one after the other. A failure means that LiveKit cannot be reached: it is not
   * thrown.
   * @param {() => Promise<void>} task
   */
  #enqueue(task) {
    this.#queue = this.#queue.then(() => (this.#isClosed() ? undefined : task())).catch((error) => {
      if (!this.#isClosed()) console.warn("signalling: could not connect to LiveKit", error);
      this.#setState("failed");
    });
    return this.#queue;
  }

  #isClosed() {
    return this.publishing === "closed";
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}

registerProvider("livekit", (access, options) => new LiveKitSfu(access, options));
