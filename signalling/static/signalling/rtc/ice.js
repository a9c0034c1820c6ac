/** What the state of a connection means to a user, and when to restart its ICE. */

export const DISCONNECTED_PATIENCE = 5_000; // "disconnected" often mends itself; a restart costs a negotiation

/** @typedef {"connecting" | "connected" | "reconnecting" | "failed" | "closed"} PeerState */

/** @type {Partial<Record<RTCIceConnectionState | RTCPeerConnectionState, PeerState>>} */
const STATES = {
  connected: "connected",
  completed: "connected",
  disconnected: "reconnecting",
  failed: "failed",
  closed: "closed",
};

export class IceWatch {
  /** @type {PeerState} */
  state = "connecting";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{restart: () => void, changed: () => void}} owner what to do about it, and whom to tell of `state` */
  constructor(owner) {
    this.owner = owner;
  }

  /** @param {RTCPeerConnection} pc */
  follow(pc) {
    pc.oniceconnectionstatechange = () => this.#look(pc.iceConnectionState);
  }

  /** Look at DTLS too, which cannot be agreed with who takes us for another connection. @param {RTCPeerConnection} pc */
  followWhole(pc) {
    pc.onconnectionstatechange = () => this.#look(pc.connectionState);
  }

  restart() {
    clearTimeout(this.#timer);
    this.owner.restart();
  }

  /** RTCPeerConnection.close() fires no event on its own side. */
  close() {
    clearTimeout(this.#timer);
    this.#set("closed");
  }

  /** @param {RTCIceConnectionState | RTCPeerConnectionState} state */
  #look(state) {
    clearTimeout(this.#timer);
    if (state === "failed") this.restart();
    if (state === "disconnected") this.#timer = setTimeout(() => this.restart(), DISCONNECTED_PATIENCE);
    this.#set(STATES[state] ?? (this.state === "connecting" ? "connecting" : "reconnecting"));
  }

  /** @param {PeerState} state */
  #set(state) {
    if (state === this.state || this.state === "closed") return;
    this.state = state;
    this.owner.changed();
  }
}
