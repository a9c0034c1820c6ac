/**
 * The connections to the other peers: who has one, what they send, and how much we send to each.
 *
 * Events: "changed" (detail: peer id) when a connection's stream or state does, or when its first media has arrived.
 */
import {Arrivals, flowing, hasArrived} from "../rtc/first-media.js";
import {Peer} from "./peer.js";

/** @typedef {import("../client/protocol.js").MediaState} MediaState */

export class Mesh extends EventTarget {
  /** @type {Map<string, Peer>} */
  peers = new Map();
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {number | null} */
  #maxKbps = null;
  /** Whether it matters who has arrived: only where there is another path to show them from. */
  #isWatched = false;
  #arrivals = new Arrivals((ids) => this.#look(ids), (id) => this.#changed(id));

  /**
   * @param {object} options
   * @param {import("../client/outgoing.js").Relay} options.relay
   * @param {import("../rtc/senders.js").LocalMedia} options.media
   * @param {(peerId: string) => MediaState | undefined} options.mediaOf what they say that they send
   */
  constructor({relay, media, mediaOf}) {
    super();
    this.relay = relay;
    this.media = media;
    this.mediaOf = mediaOf;
  }

  /** Whose media was seen, while it is watched. @returns {ReadonlySet<string>} */
  get arrived() {
    return this.#arrivals.arrived;
  }

  /** @param {string} id @param {boolean} polite */
  open(id, polite) {
    this.close(id);
    const {media} = this;
    const peer = new Peer({id, polite, iceServers: this.#iceServers, media, send: (event, data) => this.relay.send(id, event, data)});
    this.peers.set(id, peer);
    peer.senders.cap(this.#maxKbps);
    for (const event of ["stream", "state"]) peer.addEventListener(event, () => this.#follow(id, peer));
    if (this.#isWatched) this.#arrivals.expect(id);
    return peer;
  }

  /** @param {string} id */
  close(id) {
    const peer = this.peers.get(id);
    this.peers.delete(id);
    this.#arrivals.forget(id);
    this.relay.forget(id);
    peer?.close();
  }

  closeAll() {
    for (const id of [...this.peers.keys()]) this.close(id);
  }

  /** Close those where nothing was said yet. */
  closeIdle() {
    for (const [id, peer] of this.peers) if (peer.isIdle) this.close(id);
  }

  /** From now on it matters whose media has arrived, or does not any more. @param {boolean} isWatched */
  watch(isWatched) {
    if (isWatched === this.#isWatched) return;
    this.#isWatched = isWatched;
    if (!isWatched) return this.#arrivals.close();
    for (const [id, {state}] of this.peers) {
      // Until now they were shown from here: another path that has nothing yet must not seem as good.
      if (state === "connected") this.#arrivals.assume(id);
      else this.#arrivals.expect(id);
    }
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
    for (const peer of this.peers.values()) peer.setIceServers(iceServers);
  }

  /** @param {import("../rtc/senders.js").Kind} kind */
  replaceTrack(kind) {
    for (const peer of this.peers.values()) peer.replaceTrack(kind);
  }

  /** @param {number | null} maxKbps of video to each other one */
  cap(maxKbps) {
    if (maxKbps === this.#maxKbps) return;
    this.#maxKbps = maxKbps;
    for (const {senders} of this.peers.values()) senders.cap(maxKbps);
  }

  /** @param {string} id @param {Peer} peer */
  #follow(id, peer) {
    if (this.peers.get(id) !== peer) return;
    if (peer.state === "connected") peer.senders.cap(this.#maxKbps); // now at the latest there is something to cap
    this.#changed(id);
  }

  /** @param {string[]} ids */
  async #look(ids) {
    const seen = await Promise.all(ids.map((id) => this.#hasArrived(id)));
    return ids.filter((_, index) => seen[index]);
  }

  /** @param {string} id */
  async #hasArrived(id) {
    const peer = this.peers.get(id);
    if (peer?.state !== "connected") return false;
    const flows = flowing(await peer.pc.getStats());
    return peer === this.peers.get(id) && hasArrived(this.mediaOf(id), peer.stream.getTracks(), flows);
  }

  /** @param {string} id */
  #changed(id) {
    this.dispatchEvent(new CustomEvent("changed", {detail: id}));
  }
}

/**
 * What each of a mesh should send to each other one, for all of it must go through everybody's uplink.
 * @param {number[]} meshKbps for 2 peers, 3 peers, …
 * @param {number} others
 * @param {boolean} isDoubled whether the same is sent to an SFU too
 * @returns {number | null}
 */
export function meshCap(meshKbps, others, isDoubled) {
  const smallest = meshKbps.at(-1) ?? null;
  return isDoubled ? smallest : (meshKbps[Math.max(others, 1) - 1] ?? smallest);
}
