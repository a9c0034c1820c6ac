/** The ICE of a connection: what it means to a user, and when to restart it. */

export const DISCONNECTED_PATIENCE = 5_000; // "disconnected" often mends itself; a restart costs a negotiation

/** @typedef {"connecting" | "connected" | "reconnecting" | "failed" | "closed"} PeerState */

/** @type {Partial<Record<RTCIceConnectionState, PeerState>>} */
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

  restart() {
    clearTimeout(this.#timer);
    this.owner.restart();
  }

  /** RTCPeerConnection.close() fires no event on its own side. */
  close() {
    clearTimeout(this.#timer);
    this.#set("closed");
  }

  /** @param {RTCIceConnectionState} ice */
  #look(ice) {
    clearTimeout(this.#timer);
    if (ice === "failed") this.restart();
    if (ice === "disconnected") this.#timer = setTimeout(() => this.restart(), DISCONNECTED_PATIENCE);
    this.#set(STATES[ice] ?? (this.state === "connecting" ? "connecting" : "reconnecting"));
  }

  /** @param {PeerState} state */
  #set(state) {
    if (state === this.state || this.state === "closed") return;
    this.state = state;
    this.owner.changed();
  }
}
