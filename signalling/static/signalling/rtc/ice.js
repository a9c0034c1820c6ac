/** Translates connection states for users, and decides when to restart ICE. */

// A "disconnected" connection often recovers by itself, and a restart costs a negotiation.
const DISCONNECTED_TIMEOUT = 5_000;

/** @typedef {"connecting" | "connected" | "reconnecting" | "failed" | "closed"} PeerState */

/** @type {Partial<Record<RTCIceConnectionState | RTCPeerConnectionState, PeerState>>} */
const STATES = {
  connected: "connected",
  completed: "connected",
  disconnected: "reconnecting",
  failed: "failed",
  closed: "closed",
};

export class IceMonitor {
  /** @type {PeerState} */
  state = "connecting";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{restart: () => void, stateChanged: () => void}} callbacks */
  constructor(callbacks) {
    this.callbacks = callbacks;
  }

  /** Watch the ICE state. @param {RTCPeerConnection} pc */
  watchIce(pc) {
    pc.oniceconnectionstatechange = () => this.#onChange(pc.iceConnectionState);
  }

  /**
   * Watch the ICE and DTLS state. DTLS fails if the other side expects a different connection.
   * @param {RTCPeerConnection} pc
   */
  watchConnection(pc) {
    pc.onconnectionstatechange = () => this.#onChange(pc.connectionState);
  }

  restart() {
    clearTimeout(this.#timer);
    this.callbacks.restart();
  }

  /** Call this after RTCPeerConnection.close(), which fires no event on the closing side. */
  close() {
    clearTimeout(this.#timer);
    this.#setState("closed");
  }

  /** @param {RTCIceConnectionState | RTCPeerConnectionState} state */
  #onChange(state) {
    clearTimeout(this.#timer);
    if (state === "failed") this.restart();
    if (state === "disconnected") this.#timer = setTimeout(() => this.restart(), DISCONNECTED_TIMEOUT);
    this.#setState(STATES[state] ?? (this.state === "connecting" ? "connecting" : "reconnecting"));
  }

  /** @param {PeerState} state */
  #setState(state) {
    if (state === this.state || this.state === "closed") return;
    this.state = state;
    this.callbacks.stateChanged();
  }
}
