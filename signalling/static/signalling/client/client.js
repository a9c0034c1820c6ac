/**
 * The signalling socket: frames, requests with their answers, keep-alive. No DOM, no WebRTC.
 *
 *     const client = new SignallingClient({url: "wss://example.org/ws/signalling/", token});
 *     client.on("peer:joined", ({peerId}) => …);
 *     await client.connect();
 *     const {peers} = await client.request("join:room", {roomCode: "ABC123"});
 *
 * It opens one socket at a time and never another one by itself: membership.js does.
 */
import {SignallingError} from "./errors.js";
import {SUBPROTOCOL} from "./protocol.js";

export {SignallingError};

const PING_EVERY = 20_000; // the server closes with 4408 after 45 s of silence
const SILENCE = 45_000; // a half-open socket never fires "close" by itself
const REQUEST_TIMEOUT = 15_000;
const LOST = 1006; // what a browser reports for a connection that ended without a close frame
const UNHEARD = 4408; // our close of a socket that is silent. After 1000 the server would take us for gone for good.
const UNAUTHENTICATED = 4401;

/**
 * @typedef {string | null} Token
 * @typedef {{code: number, error: SignallingError}} Closed
 * @typedef {import("./protocol.js").ServerEvents & {closed: Closed}} ClientEvents
 * @typedef {{resolve: (data: any) => void, reject: (error: SignallingError) => void, timer: ReturnType<typeof setTimeout>}} Pending
 */

/** Dispatches every event of the server as a CustomEvent of the same name, and "closed" once per lost connection. */
export class SignallingClient extends EventTarget {
  /** @type {WebSocket | null} */
  #socket = null;
  #attempt = 0;
  #lastId = 0;
  #lastHeard = 0;
  /** @type {Map<string | number, Pending>} */
  #pending = new Map();
  /** @type {SignallingError | null} the last frame, if it was an error: Daphne drops close reasons, so it tells why */
  #lastError = null;
  /** @type {{token: Token, error: SignallingError} | null} what the server has refused to know us by */
  #refused = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinger;

  /**
   * @param {object} options
   * @param {string | URL} options.url
   * @param {Token | (() => Token | Promise<Token>)} [options.token] an access token, or what gives one for each
   *   connection; without one the site's session counts (same origin only)
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
   * Listen to one event, with its data typed.
   * @template {keyof ClientEvents} K
   * @param {K} event
   * @param {(data: ClientEvents[K]) => void} handler
   * @returns {() => void} stops listening
   */
  on(event, handler) {
    const listener = (/** @type {Event} */ occurred) => handler(/** @type {CustomEvent} */ (occurred).detail);
    this.addEventListener(event, listener);
    return () => this.removeEventListener(event, listener);
  }

  /**
   * Open a socket. Attempts are numbered: whatever an older socket still fires is not ours any more.
   * @returns {Promise<void>} resolved when it is open; rejected with a SignallingError when it closes first or when
   *   there is no other token than the one that was refused, and with what a token function throws
   */
  async connect() {
    this.close();
    const attempt = this.#attempt;
    const token = typeof this.token === "function" ? await this.#renewedToken(this.token) : this.token;
    if (attempt !== this.#attempt) throw this.#closedError(1000);
    await this.#open(token, attempt);
  }

  /** Send a frame that wants no answer. A frame for a socket that is not open is dropped.
   * @param {string} event
   * @param {object} [data]
   */
  send(event, data) {
    this.#transmit({event, data});
  }

  /**
   * Send a frame and wait for what answers it: the data of its natural reply or of `ack`.
   * @param {string} event
   * @param {object} [data]
   * @param {number} [patience] in milliseconds
   * @returns {Promise<any>} rejected with a SignallingError; it has a `closeCode` if the connection was lost meanwhile
   */
  request(event, data, patience = REQUEST_TIMEOUT) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      if (!this.connected) return reject(this.#closedError(LOST));
      const timer = setTimeout(() => this.#settle(id, new SignallingError({code: "timeout", event})), patience);
      this.#pending.set(id, {resolve, reject, timer});
      this.#transmit({event, data, id});
    });
  }

  /** Close for good; no "closed" event follows, because nobody needs to be told what they did. */
  close() {
    this.#attempt += 1;
    const socket = this.#socket;
    this.#forget(1000);
    socket?.close(1000);
  }

  /** Take a socket that does not answer for lost. */
  drop() {
    if (this.#socket) this.#lose(LOST);
  }

  /** @param {() => Token | Promise<Token>} give @returns {Promise<Token>} */
  async #renewedToken(give) {
    const token = await give();
    if (this.#refused?.token !== token) return token;
    const {code, message} = this.#refused.error;
    // A refusal and not a loss: it has no close code, for no socket was opened.
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
        if (attempt === this.#attempt) this.#lose(code);
        reject(error); // means nothing after "open"
      };
    });
  }

  /** @param {object} frame */
  #transmit(frame) {
    if (this.connected) this.#socket?.send(JSON.stringify(frame));
  }

  /** @param {unknown} text */
  #receive(text) {
    this.#lastHeard = Date.now();
    const {event, data = {}, id} = JSON.parse(String(text));
    if (event === "error") this.#refuse(new SignallingError(data), id, data);
    else {
      this.#lastError = null;
      this.#settle(id, data);
      this.#dispatch(event, data);
    }
  }

  /** @param {SignallingError} error @param {string | number | undefined} id @param {object} data */
  #refuse(error, id, data) {
    if (this.#settle(id, error)) return;
    this.#lastError = error;
    this.#dispatch("error", data);
  }

  /** @param {string | number | undefined} id @param {unknown} outcome @returns {boolean} whether somebody waited */
  #settle(id, outcome) {
    const waiting = id === undefined ? undefined : this.#pending.get(id);
    if (id === undefined || !waiting) return false;
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    if (outcome instanceof SignallingError) waiting.reject(outcome);
    else waiting.resolve(outcome);
    return true;
  }

  /** @param {string} event @param {unknown} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }

  #startPinging() {
    this.#lastHeard = Date.now();
    this.#pinger = setInterval(() => {
      if (Date.now() - this.#lastHeard > SILENCE) this.drop();
      else this.send("ping");
    }, PING_EVERY);
  }

  /** The connection ended and it was not us. @param {number} code */
  #lose(code) {
    const error = this.#closedError(code);
    const socket = this.#socket;
    this.#attempt += 1;
    this.#forget(code);
    socket?.close(UNHEARD); // does nothing where it is closed already
    this.#dispatch("closed", {code, error});
  }

  /** @param {number} code */
  #forget(code) {
    clearInterval(this.#pinger);
    this.#socket = null;
    const error = this.#closedError(code);
    this.#lastError = null;
    for (const id of [...this.#pending.keys()]) this.#settle(id, error);
  }

  /**
   * What ended the connection: the error frame just before a close of the application's, else the close code.
   * @param {number} closeCode
   */
  #closedError(closeCode) {
    const said = closeCode >= 4000 ? this.#lastError : null;
    const {code = "closed", message = `closed with ${closeCode}`, retryAfter, details = {}} = said ?? {};
    return new SignallingError({...details, code, message, retryAfter, closeCode});
  }
}

/** A browser can set no header on a WebSocket, and a token in the URL ends up in logs. @param {Token} token */
function subprotocols(token) {
  return token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL];
}

/** The socket beside this page. @param {string} path @returns {URL} */
export function sameOriginSocket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}
