/**
 * The signalling socket: frames, requests and their answers, heartbeats. No DOM, no WebRTC.
 *
 *     const client = new SignallingClient({url: "wss://example.org/ws/signalling/", token});
 *     client.on("peer:joined", ({peerId}) => …);
 *     await client.connect();
 *     const {peers} = await client.request("join:room", {roomCode: "ABC123"});
 *
 * A client has one socket at a time and never reconnects by itself; membership.js does that.
 */
import {SignallingError} from "./errors.js";
import {SUBPROTOCOL} from "./protocol.js";
import {PendingRequests} from "./requests.js";

/** @import {ServerEvents} from "./protocol.js" */

const PING_INTERVAL = 20_000; // the server closes with 4408 after 45 s without a message
const IDLE_TIMEOUT = 45_000; // a half-open socket never fires "close" by itself
const REQUEST_TIMEOUT = 15_000;
const ABNORMAL_CLOSURE = 1006; // what browsers report for a connection that ended without a close frame
// For sockets that we give up. Code 1000 would end the membership: the server could not resume it.
const HEARTBEAT_LOST = 4408;
const UNAUTHENTICATED = 4401;

/**
 * @typedef {string | null} Token
 * @typedef {{code: number, error: SignallingError}} Closed
 * @typedef {ServerEvents & {closed: Closed}} ClientEvents
 */

/**
 * Dispatches every server event as a CustomEvent of the same name, and "closed" once for each lost
 * connection.
 */
export class SignallingClient extends EventTarget {
  /** @type {WebSocket | null} */
  #socket = null;
  /** Numbers the sockets, so that events of earlier sockets can be ignored. */
  #attempt = 0;
  #lastReceivedAt = 0;
  #requests = new PendingRequests();
  /**
   * The last frame, if it was an error. It explains a close: Daphne drops close reasons.
   * @type {SignallingError | null}
   */
  #lastError = null;
  /**
   * The token that the server last refused.
   * @type {{token: Token, error: SignallingError} | null}
   */
  #refused = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinger;

  /**
   * @param {object} options
   * @param {string | URL} options.url
   * @param {Token | (() => Token | Promise<Token>)} [options.token] an access token, or a function
   *   that returns one for each connection; without it, the site's session authenticates (same
   *   origin only)
   * @param {typeof WebSocket} [options.WebSocket] for tests and for Node
   */
  constructor({url, token = null, WebSocket = globalThis.WebSocket}) {
    super();
    this.url = url;
    this.token = token;
    this.WebSocket = WebSocket;
  }

  get connected() {
    return this.#socket?.readyState === 1; // WebSocket.OPEN
  }

  /**
   * Listen for one event, with its data typed.
   * @template {keyof ClientEvents} K
   * @param {K} event
   * @param {(data: ClientEvents[K]) => void} handler
   * @returns {() => void} removes the listener
   */
  on(event, handler) {
    const listener = (/** @type {Event} */ occurred) => handler(/** @type {CustomEvent} */ (occurred).detail);
    this.addEventListener(event, listener);
    return () => this.removeEventListener(event, listener);
  }

  /**
   * Open a socket.
   * @returns {Promise<void>} resolved when it is open; rejected with a SignallingError if it closes
   *   first or if the only token is one that the server has refused, and with any error that the
   *   token function throws
   */
  async connect() {
    this.close();
    const attempt = this.#attempt;
    const token = typeof this.token === "function" ? await this.#renewedToken(this.token) : this.token;
    if (attempt !== this.#attempt) throw this.#closedError(1000);
    await this.#open(token, attempt);
  }

  /**
   * Send a frame without awaiting an answer. Dropped if the socket is not open.
   * @param {string} event
   * @param {object} [data]
   */
  send(event, data) {
    this.#transmit({event, data});
  }

  /**
   * Send a frame and await its answer: the data of its reply or of `ack`.
   * @param {string} event
   * @param {object} [data]
   * @param {number} [timeout] in milliseconds
   * @returns {Promise<any>} rejected with a SignallingError, which has a `closeCode` if the
   *   connection was lost
   */
  request(event, data, timeout = REQUEST_TIMEOUT) {
    if (!this.connected) return Promise.reject(this.#closedError(ABNORMAL_CLOSURE));
    const {id, answer} = this.#requests.add(event, timeout);
    this.#transmit({event, data, id});
    return answer;
  }

  /** Close the socket and end the membership. Dispatches no "closed" event. */
  close() {
    this.#attempt += 1;
    const socket = this.#socket;
    this.#cleanUp(1000);
    socket?.close(1000);
  }

  /** Treat the socket as lost, because it does not answer. */
  drop() {
    if (this.#socket) this.#onLost(ABNORMAL_CLOSURE);
  }

  /** @param {() => Token | Promise<Token>} getToken @returns {Promise<Token>} */
  async #renewedToken(getToken) {
    const token = await getToken();
    if (this.#refused?.token !== token) return token;
    const {code, message} = this.#refused.error;
    // No close code: no socket was opened.
    throw new SignallingError({code: code === "closed" ? "token_invalid" : code, message});
  }

  /** @param {Token} token @param {number} attempt @returns {Promise<void>} */
  #open(token, attempt) {
    const socket = new this.WebSocket(this.url, subprotocols(token));
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      /** @param {(event: any) => void} handle */
      const ifCurrent = (handle) => (/** @type {unknown} */ event) => attempt === this.#attempt && handle(event);
      socket.onopen = ifCurrent(() => {
        this.#startPinging();
        resolve();
      });
      socket.onmessage = ifCurrent(({data}) => this.#receive(data));
      socket.onclose = ({code}) => {
        const error = this.#closedError(code);
        if (code === UNAUTHENTICATED) this.#refused = {token, error};
        if (attempt === this.#attempt) this.#onLost(code);
        reject(error); // no effect after "open"
      };
    });
  }

  /** @param {object} frame */
  #transmit(frame) {
    if (this.connected) this.#socket?.send(JSON.stringify(frame));
  }

  /** @param {unknown} text */
  #receive(text) {
    this.#lastReceivedAt = Date.now();
    const {event, data = {}, id} = JSON.parse(String(text));
    if (event === "error") this.#onError(new SignallingError(data), id, data);
    else {
      this.#lastError = null;
      this.#requests.settle(id, data);
      this.#dispatch(event, data);
    }
  }

  /** @param {SignallingError} error @param {string | number | undefined} id @param {object} data */
  #onError(error, id, data) {
    if (this.#requests.settle(id, error)) return;
    this.#lastError = error;
    this.#dispatch("error", data);
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }

  #startPinging() {
    this.#lastReceivedAt = Date.now();
    this.#pinger = setInterval(() => {
      if (Date.now() - this.#lastReceivedAt > IDLE_TIMEOUT) this.drop();
      else this.send("ping");
    }, PING_INTERVAL);
  }

  /** The connection ended, and not because of `close`. @param {number} code */
  #onLost(code) {
    const error = this.#closedError(code);
    const socket = this.#socket;
    this.#attempt += 1;
    this.#cleanUp(code);
    socket?.close(HEARTBEAT_LOST); // no effect if it is closed already
    this.#dispatch("closed", {code, error});
  }

  /** @param {number} code */
  #cleanUp(code) {
    clearInterval(this.#pinger);
    this.#socket = null;
    const error = this.#closedError(code);
    this.#lastError = null;
    this.#requests.rejectAll(error);
  }

  /**
   * Return why the connection ended: the error frame just before one of the application's own close
   * codes, otherwise the close code.
   * @param {number} closeCode
   */
  #closedError(closeCode) {
    const reported = closeCode >= 4000 ? this.#lastError : null;
    const {code = "closed", message = `closed with ${closeCode}`, retryAfter, details = {}} = reported ?? {};
    return new SignallingError({...details, code, message, retryAfter, closeCode});
  }
}

/**
 * Browsers cannot set headers on a WebSocket, and a token in the URL ends up in logs.
 * @param {Token} token
 */
function subprotocols(token) {
  return token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL];
}

/** Return the URL of a WebSocket on the origin of this page. @param {string} path @returns {URL} */
export function sameOriginSocket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}
