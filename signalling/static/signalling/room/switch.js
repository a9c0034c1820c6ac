/**
 * Decides how the media of the room travels: through the mesh, through an SFU, or through both
 * while one replaces the other (PROTOCOL.md, "SFU mode"). A new path is established before the old
 * one is closed, and each participant is shown from the better of the two.
 *
 * Events: "changed" (detail: Participant) when a participant's path, stream or state changes;
 * "lost" (detail: boolean) when the SFU becomes unavailable, and when it is available again.
 */
import {meshCap} from "../mesh/bitrate.js";
import {choosePath, isLiveOnSfu} from "./paths.js";
import {SfuPath} from "./sfu-path.js";
import {SwitchReport} from "./switch-report.js";

/** @import {Outgoing} from "../client/outgoing.js" */
/** @import {Mode, RoomJoined, RoomMode, SfuAccess} from "../client/protocol.js" */
/** @import {Mesh} from "../mesh/mesh.js" */
/** @import {Kind, LocalMedia} from "../rtc/senders.js" */
/** @import {Participant} from "./types.js" */

export class Switch extends EventTarget {
  /** @type {Mode} */
  mode = "p2p";
  isLost = false;
  #version = 0;
  #isSwitching = false;
  /** @type {SfuAccess | undefined} */
  #access;
  /** @type {number[]} */
  #meshKbps = [];
  #report = new SwitchReport({
    isConnected: () => this.sfu?.publishing === "connected",
    hasAll: () => [...this.participants.keys()].every((id) => this.sfu?.arrived.has(id)),
    send: (verdict) => this.sfuPath.report(this.#version, verdict),
  });

  /**
   * @param {object} options
   * @param {Outgoing} options.outgoing
   * @param {LocalMedia} options.media
   * @param {Mesh} options.mesh
   * @param {Map<string, Participant>} options.participants
   */
  constructor({outgoing, media, mesh, participants}) {
    super();
    this.mesh = mesh;
    this.participants = participants;
    this.sfuPath = new SfuPath({
      outgoing,
      media,
      mediaOf: (id) => participants.get(id)?.media,
      onChange: (id) => this.#onMediaChanged(id),
    });
    mesh.addEventListener("changed", (event) => this.#onMediaChanged(/** @type {CustomEvent} */ (event).detail));
  }

  /** Our session with the SFU, if there is one. */
  get sfu() {
    return this.sfuPath.session;
  }

  /**
   * We are in the room. If the membership is not a resumed one, call `close` first.
   * @param {RoomJoined} joined
   */
  enter({mode = "p2p", modeVersion, switching, sfu, limits, resumed = false, gap = false}) {
    this.#meshKbps = limits?.meshKbps ?? [];
    this.setMode({mode, version: modeVersion, switching, sfu});
    if (resumed) this.sfu?.recover(gap);
  }

  /** @param {RoomMode} update */
  setMode({mode, version = 0, switching = false, reason, sfu}) {
    if (version < this.#version) return;
    const wasMesh = this.mode === "p2p";
    const isNew = version > this.#version || mode !== this.mode;
    this.mode = mode;
    this.#version = version;
    this.#isSwitching = switching;
    this.#access = sfu ?? this.#access;
    if (reason || mode === "p2p") this.#setLost(mode === "sfu" && reason === "sfu_lost");
    if (mode === "p2p") this.#useMesh();
    else if (isNew || !this.sfu) this.#useSfu(wasMesh);
    this.update();
  }

  /** The SFU has dropped our connections. @param {{sfu?: SfuAccess}} data */
  reset({sfu}) {
    this.#access = sfu ?? this.#access;
    this.#setLost(false);
    if (this.mode === "sfu") this.#startSfu();
    else this.#stopSfu();
    this.update();
  }

  /**
   * Handle a message from a reserved id.
   * @param {string} event
   * @param {{fromPeerId: string}} data
   */
  receive(event, data) {
    return this.sfu?.receive(event, data);
  }

  /** @param {Participant} participant */
  add(participant) {
    if (this.mode === "p2p") this.#connect(participant);
    this.#choosePath(participant);
    this.update();
  }

  /** @param {Kind} kind */
  replaceTrack(kind) {
    this.sfu?.replaceTrack(kind);
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.sfuPath.setIceServers(iceServers);
  }

  /** Return to the state before the first join. */
  close() {
    this.#stopSfu();
    this.sfuPath.reset();
    this.#report.end();
    this.#setLost(false);
    this.mode = "p2p";
    this.#version = 0;
  }

  #useMesh() {
    this.#report.end();
    for (const participant of this.participants.values())
      if (!this.mesh.peers.has(participant.id)) this.#connect(participant);
    this.sfuPath.drain(() => this.#onDrainTimeout());
  }

  /**
   * Connect to the SFU. Connections of an earlier version no longer exist there.
   * @param {boolean} wasMesh
   */
  #useSfu(wasMesh) {
    if (wasMesh) this.mesh.closeIdle(); // the peers that would have sent offers no longer will
    this.#startSfu();
    if (this.#isSwitching) for (const participant of this.participants.values()) participant.receivesFromSfu = false;
    this.#report.begin(this.#isSwitching);
  }

  /**
   * Connect to a peer of the mesh; the one of the pair that joined later sends the offer.
   * @param {Participant} participant
   */
  #connect({id, isOlder}) {
    const peer = this.mesh.open(id, isOlder);
    if (isOlder) peer.start();
    else peer.waitForOffer();
  }

  #startSfu() {
    this.#stopSfu();
    this.mesh.detectMedia(true);
    this.sfuPath.start(this.#access);
  }

  #stopSfu() {
    this.sfuPath.stop();
    this.mesh.detectMedia(false);
  }

  #onDrainTimeout() {
    this.#stopSfu();
    this.update();
  }

  /**
   * Something has changed on either path.
   * @param {string | null} id the peer whose tracks may have changed
   */
  #onMediaChanged(id) {
    const participant = this.participants.get(id ?? "");
    if (participant) this.#choosePath(participant);
    if (participant) this.#dispatchChanged(participant);
    this.update();
  }

  /** Call this after every change, also when a participant has left or reported. */
  update() {
    for (const participant of this.participants.values())
      if (this.#choosePath(participant)) this.#dispatchChanged(participant);
    this.#report.update();
    if (this.mode === "sfu") this.#closeUnneeded();
    else if (this.sfu && [...this.participants.values()].every(({path}) => path === "mesh")) this.#stopSfu();
    const isSentTwice = this.mode === "sfu" || this.sfu !== null;
    this.mesh.cap(meshCap(this.#meshKbps, this.participants.size, isSentTwice));
    this.sfuPath.watch(this.mode === "sfu" && !this.isLost);
  }

  /**
   * Close the mesh connections that neither side needs. Until it is committed, the switch may be
   * rolled back; and a peer that has not reported, like ourselves, may still need the mesh.
   */
  #closeUnneeded() {
    if (this.#isSwitching || this.#report.sent !== "receiving") return;
    for (const {id, path, receivesFromSfu} of this.participants.values())
      if (path === "sfu" && receivesFromSfu && isLiveOnSfu(this.sfu, id)) this.mesh.close(id);
  }

  /**
   * @param {Participant} participant
   * @returns {boolean} whether path, stream or state have changed
   */
  #choosePath(participant) {
    const {id, path, stream, state} = participant;
    const peer = this.mesh.peers.get(id);
    const hasArrived = !this.sfu || this.mesh.arrived.has(id);
    const chosen = choosePath({mode: this.mode, id, peer, hasArrived, sfu: this.sfu});
    // Without a new stream, keep showing the last one.
    Object.assign(participant, chosen, {stream: chosen.stream ?? stream});
    return participant.path !== path || participant.stream !== stream || participant.state !== state;
  }

  /** @param {boolean} isLost */
  #setLost(isLost) {
    if (isLost === this.isLost) return;
    this.isLost = isLost;
    this.dispatchEvent(new CustomEvent("lost", {detail: isLost}));
  }

  /** @param {Participant} participant */
  #dispatchChanged(participant) {
    this.dispatchEvent(new CustomEvent("changed", {detail: participant}));
  }
}
