/**
 * Which way the media of the room takes: the mesh, an SFU, or both while one replaces the other (PROTOCOL.md, "SFU
 * mode"). A new path is made before the old one is broken, and each participant is shown from the better of the two.
 *
 * Events: "changed" (detail: Participant) when somebody's path, stream or state did, "lost" (detail: boolean) when the
 * SFU is away, and when it is back.
 */
import {meshCap} from "../mesh/mesh.js";
import {carries, choose} from "./paths.js";
import {createSfu} from "../sfu/providers.js";
import {PUBLISH} from "../sfu/publisher.js";
import {Report} from "./switch-report.js";
import {SUBSCRIBE} from "../sfu/subscription.js";
import {Watchdog} from "./watchdog.js";

/** @typedef {import("./types.js").Participant} Participant */
/** @typedef {import("../client/protocol.js").SfuAccess} SfuAccess */

const DRAIN = 15_000; // how long the SFU is kept at most once the room is a mesh again
// What we ask of the server goes through the relay as well, which repeats it when the socket was lost.
const RESTART = "sfu:restart";
const STATE = "sfu:state";

export class Switch extends EventTarget {
  /** @type {import("../client/protocol.js").Mode} */
  mode = "p2p";
  isLost = false;
  /** @type {import("../sfu/providers.js").AnySfu | null} */
  sfu = null;
  #version = 0;
  #isSwitching = false;
  /** @type {SfuAccess | undefined} */
  #access;
  /** @type {number[]} */
  #meshKbps = [];
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #drain;
  #watchdog = new Watchdog(() => this.#ask(RESTART, {anew: true}));
  #report = new Report({
    isConnected: () => this.sfu?.publishing === "connected",
    hasAll: () => [...this.participants.keys()].every((id) => this.sfu?.arrived.has(id)),
    tell: (state) => this.#ask(STATE, {version: this.#version, state}),
  });

  /**
   * @param {object} options
   * @param {import("../client/outgoing.js").Relay} options.relay
   * @param {import("../rtc/senders.js").LocalMedia} options.media
   * @param {import("../mesh/mesh.js").Mesh} options.mesh
   * @param {Map<string, Participant>} options.participants
   */
  constructor({relay, media, mesh, participants}) {
    super();
    this.relay = relay;
    this.media = media;
    this.mesh = mesh;
    this.participants = participants;
    mesh.addEventListener("changed", (event) => this.#follow(/** @type {CustomEvent} */ (event).detail));
  }

  /** We are in the room; if it is not the place that we had, then after `close`. @param {import("../client/protocol.js").RoomJoined} joined */
  enter({mode = "p2p", modeVersion, switching, sfu, limits, resumed = false, gap = false}) {
    this.#meshKbps = limits?.meshKbps ?? [];
    this.setMode({mode, version: modeVersion, switching, sfu});
    if (resumed) this.sfu?.recover(gap);
  }

  /** @param {import("../client/protocol.js").RoomMode} news */
  setMode({mode, version = 0, switching = false, reason, sfu}) {
    if (version < this.#version) return;
    const wasMesh = this.mode === "p2p";
    const isNew = version > this.#version || mode !== this.mode;
    this.mode = mode;
    this.#version = version;
    this.#isSwitching = switching;
    this.#access = sfu ?? this.#access;
    if (reason || mode === "p2p") this.#setLost(mode === "sfu" && reason === "sfu_lost");
    if (mode === "p2p") this.#toMesh();
    else if (isNew || !this.sfu) this.#toSfu(wasMesh);
    this.settle();
  }

  /** Our connections to the SFU are gone. @param {{sfu?: SfuAccess}} data */
  reset({sfu}) {
    this.#access = sfu ?? this.#access;
    this.#setLost(false);
    if (this.mode === "sfu") this.#start();
    else this.#stop();
    this.settle();
  }

  /** What came from an id that is no peer's. @param {string} event @param {{fromPeerId: string}} data */
  receive(event, data) {
    return this.sfu?.receive(event, data);
  }

  /** Somebody is here. @param {Participant} participant */
  welcome(participant) {
    if (this.mode === "p2p") this.#connect(participant);
    this.#choose(participant);
    this.settle();
  }

  /** @param {import("../rtc/senders.js").Kind} kind */
  replaceTrack(kind) {
    this.sfu?.replaceTrack(kind);
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
    this.sfu?.setIceServers(iceServers);
  }

  /** As before the first join. */
  close() {
    this.#stop();
    this.#report.end();
    this.#watchdog.rest();
    this.#setLost(false);
    this.relay.forget(STATE);
    this.mode = "p2p";
    this.#version = 0;
  }

  #toMesh() {
    this.#report.end();
    for (const participant of this.participants.values())
      if (!this.mesh.peers.has(participant.id)) this.#connect(participant);
    if (this.sfu) this.#drain ??= setTimeout(() => this.#giveUpSfu(), DRAIN);
  }

  /** What there was in the SFU is of another version, and nobody there knows it any more. @param {boolean} wasMesh */
  #toSfu(wasMesh) {
    if (wasMesh) this.mesh.closeIdle(); // those who would have offered will not
    this.#start();
    if (this.#isSwitching) for (const participant of this.participants.values()) participant.reported = false;
    this.#report.begin(this.#isSwitching);
  }

  /** Have a mesh connection; of each pair the one that joined later offers. @param {Participant} participant */
  #connect({id, isOlder}) {
    const peer = this.mesh.open(id, isOlder);
    if (isOlder) peer.start();
    else peer.waitForOffer();
  }

  #start() {
    this.#stop();
    const sfu = createSfu(this.#access, {
      iceServers: this.#iceServers,
      media: this.media,
      send: (target, event, data) => this.relay.send(target, event, data),
      restart: () => this.#ask(RESTART, {}),
      mediaOf: (id) => this.participants.get(id)?.media,
    });
    this.sfu = sfu;
    for (const event of ["stream", "arrived", "state"])
      sfu?.addEventListener(event, (occurred) => {
        const {detail} = /** @type {CustomEvent} */ (occurred);
        if (sfu === this.sfu) this.#follow(event === "stream" ? detail.peerId : null);
      });
    this.mesh.watch(true);
    sfu?.start();
  }

  #stop() {
    clearTimeout(this.#drain);
    this.#drain = undefined;
    this.#watchdog.pause();
    const {sfu} = this;
    this.sfu = null;
    sfu?.close();
    this.mesh.watch(false);
    for (const id of [PUBLISH, SUBSCRIBE, RESTART]) this.relay.forget(id);
  }

  #giveUpSfu() {
    this.#stop();
    this.settle();
  }

  /** Ask, and if we could not ask yet, for this alone. @param {string} event @param {object} data */
  #ask(event, data) {
    this.relay.forget(event);
    this.relay.send(event, event, data);
  }

  /** Something has changed on either path. @param {string | null} id whose tracks may be others now */
  #follow(id) {
    const participant = this.participants.get(id ?? "");
    if (participant) this.#choose(participant);
    if (participant) this.#tell(participant);
    this.settle();
  }

  /** Draw the conclusions of whatever has changed; who left or reported may be what we waited for. */
  settle() {
    for (const participant of this.participants.values()) if (this.#choose(participant)) this.#tell(participant);
    this.#report.look();
    if (this.mode === "sfu") this.#prune();
    else if (this.sfu && [...this.participants.values()].every(({path}) => path === "mesh")) this.#stop();
    this.mesh.cap(meshCap(this.#meshKbps, this.participants.size, this.mode === "sfu" || this.sfu !== null));
    if (this.mode === "sfu" && this.sfu && !this.isLost) this.#watchdog.look(this.sfu.isWell, this.sfu.isOver);
    else this.#watchdog.pause();
  }

  /**
   * Close the mesh connections that neither side needs: before the switch is committed it may be taken back, and who
   * has not reported, we ourselves too, may still depend on them.
   */
  #prune() {
    if (this.#isSwitching || this.#report.told !== "receiving") return;
    for (const {id, path, reported} of this.participants.values())
      if (path === "sfu" && reported && carries(this.sfu, id)) this.mesh.close(id);
  }

  /** @param {Participant} participant @returns {boolean} whether it is shown in another way now */
  #choose(participant) {
    const {id, path, stream, state} = participant;
    const peer = this.mesh.peers.get(id);
    const hasArrived = !this.sfu || this.mesh.arrived.has(id);
    const shown = choose({mode: this.mode, id, peer, hasArrived, sfu: this.sfu});
    // What was shown last is better than nothing.
    Object.assign(participant, shown, {stream: shown.stream ?? stream});
    return participant.path !== path || participant.stream !== stream || participant.state !== state;
  }

  /** @param {boolean} isLost */
  #setLost(isLost) {
    if (isLost === this.isLost) return;
    this.isLost = isLost;
    this.dispatchEvent(new CustomEvent("lost", {detail: isLost}));
  }

  /** @param {Participant} participant */
  #tell(participant) {
    this.dispatchEvent(new CustomEvent("changed", {detail: participant}));
  }
}
