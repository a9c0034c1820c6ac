/**
 * The connections to the other peers of a mesh, and the bitrate limit that applies to each.
 *
 * Events: "changed" (detail: peer id) when the stream or state of a connection changes, and when
 * its first media arrives.
 */
import {FirstMedia, activeTracks, hasArrived} from "../rtc/first-media.js";
import {Peer} from "./peer.js";

/** @import {Outgoing} from "../client/outgoing.js" */
/** @import {MediaState} from "../client/protocol.js" */
/** @import {Kind, LocalMedia} from "../rtc/senders.js" */

export class Mesh extends EventTarget {
  /** @type {Map<string, Peer>} */
  peers = new Map();
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {number | null} */
  #maxKbps = null;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #repeats = new Map();
  /** Whether to detect first media: needed only if peers can be shown from an SFU as well. */
  #detectsMedia = false;
  #firstMedia = new FirstMedia((ids) => this.#findArrived(ids), (id) => this.#dispatchChanged(id));

  /**
   * @param {object} options
   * @param {Outgoing} options.outgoing
   * @param {LocalMedia} options.media
   * @param {(peerId: string) => MediaState | undefined} options.mediaOf what a peer reports that it
   *   sends
   */
  constructor({outgoing, media, mediaOf}) {
    super();
    this.outgoing = outgoing;
    this.media = media;
    this.mediaOf = mediaOf;
  }

  /**
   * The ids of the peers whose media has arrived, while it is detected.
   * @returns {ReadonlySet<string>}
   */
  get arrived() {
    return this.#firstMedia.arrived;
  }

  /** @param {string} id @param {boolean} polite */
  open(id, polite) {
    this.close(id);
    const peer = new Peer({
      id,
      polite,
      iceServers: this.#iceServers,
      media: this.media,
      send: (event, data) => this.outgoing.send(id, event, data),
    });
    this.peers.set(id, peer);
    peer.connection.cap(this.#maxKbps);
    for (const event of ["stream", "state"]) peer.addEventListener(event, () => this.#onPeerChanged(id, peer));
    if (this.#detectsMedia) this.#firstMedia.expect(id);
    return peer;
  }

  /** @param {string} id */
  close(id) {
    const peer = this.peers.get(id);
    this.peers.delete(id);
    this.#firstMedia.remove(id);
    clearTimeout(this.#repeats.get(id));
    this.#repeats.delete(id);
    this.outgoing.discard(id);
    peer?.close();
  }

  /**
   * Frames that we sent to a peer were lost, or it reads too slowly: send our description again.
   * @param {string} id
   * @param {number} seconds to wait before
   */
  repeatLater(id, seconds) {
    if (!this.peers.has(id)) return;
    clearTimeout(this.#repeats.get(id));
    this.#repeats.set(id, setTimeout(() => this.peers.get(id)?.repeat(), seconds * 1000));
  }

  closeAll() {
    for (const id of [...this.peers.keys()]) this.close(id);
  }

  /** Close the connections that have not started to negotiate. */
  closeIdle() {
    for (const [id, peer] of this.peers) if (peer.isIdle) this.close(id);
  }

  /** Start or stop detecting first media. @param {boolean} detectsMedia */
  detectMedia(detectsMedia) {
    if (detectsMedia === this.#detectsMedia) return;
    this.#detectsMedia = detectsMedia;
    if (!detectsMedia) return this.#firstMedia.close();
    for (const [id, {state}] of this.peers) {
      // Peers are shown from here now: an SFU without their media must not seem equally good.
      if (state === "connected") this.#firstMedia.assume(id);
      else this.#firstMedia.expect(id);
    }
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
    for (const peer of this.peers.values()) peer.connection.setIceServers(iceServers);
  }

  /** @param {Kind} kind */
  replaceTrack(kind) {
    for (const peer of this.peers.values()) peer.replaceTrack(kind);
  }

  /** Limit the video bitrate for each peer. @param {number | null} maxKbps */
  cap(maxKbps) {
    if (maxKbps === this.#maxKbps) return;
    this.#maxKbps = maxKbps;
    for (const peer of this.peers.values()) peer.connection.cap(maxKbps);
  }

  /** @param {string} id @param {Peer} peer */
  #onPeerChanged(id, peer) {
    if (this.peers.get(id) !== peer) return;
    // Before this there may have been no encoding to limit.
    if (peer.state === "connected") peer.connection.cap(this.#maxKbps);
    this.#dispatchChanged(id);
  }

  /** @param {string[]} ids */
  async #findArrived(ids) {
    const arrived = await Promise.all(ids.map((id) => this.#hasArrived(id)));
    return ids.filter((_, index) => arrived[index]);
  }

  /** @param {string} id */
  async #hasArrived(id) {
    const peer = this.peers.get(id);
    if (peer?.state !== "connected") return false;
    const active = activeTracks(await peer.pc.getStats());
    return peer === this.peers.get(id) && hasArrived(this.mediaOf(id), peer.stream.getTracks(), active);
  }

  /** @param {string} id */
  #dispatchChanged(id) {
    this.dispatchEvent(new CustomEvent("changed", {detail: id}));
  }
}
