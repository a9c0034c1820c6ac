/**
 * Our membership in a room, which outlives the socket: when the socket is lost, another one is
 * opened and the membership is resumed (PROTOCOL.md, "Membership"). No DOM, no WebRTC: media keeps
 * flowing.
 *
 * Events:
 * - "away": the socket is lost and will be replaced;
 * - "back" (detail: RoomJoined): we are in the room again. With `resumed: false` the earlier
 *   membership had expired; we have a new peer id and all connections must be rebuilt;
 * - "ended" (detail: SignallingError): we have left the room for good.
 */
import {Backoff, mayReconnect} from "./backoff.js";
import {SignallingError} from "./errors.js";

/** @import {SignallingClient} from "./client.js" */
/** @import {ErrorFrame, RoomJoined} from "./protocol.js" */

const UNAUTHENTICATED = 4401;
const RESUME_TIMEOUT = 5_000; // if the answer is lost, the token stays valid for 10 s
const NOT_RESUMABLE = new Set(["resume_expired", "resume_invalid"]);

export class Membership extends EventTarget {
  /** @type {"out" | "in" | "away"} */
  state = "out";
  /** Our id in the room. @type {string | null} */
  peerId = null;
  /** How many seconds the server keeps our membership without a socket. */
  resumeWindow = 0;

  #roomCode = "";
  /** Valid for one resume. @type {string | undefined} */
  #resumeToken;
  /** Numbers the attempts, so that results of earlier attempts can be ignored. */
  #attempt = 0;
  /** Whether another token was requested since we were last in the room. */
  #isRenewing = false;

  /**
   * @param {SignallingClient} client
   * @param {ConstructorParameters<typeof Backoff>[1]} [page]
   */
  constructor(client, page) {
    super();
    this.client = client;
    this.backoff = new Backoff(() => this.#reconnect(), page);
    client.on("closed", ({code, error}) => this.#onClosed(code, error));
    client.on("room:joined", (joined) => this.#onJoined(joined));
    client.on("error", (frame) => this.#onError(frame));
    client.on("token:expiring", () => this.#renewToken());
  }

  /**
   * Join for the first time. Nothing is retried until this has succeeded: the user is waiting.
   * @param {string} roomCode
   * @returns {Promise<RoomJoined>} rejected with a SignallingError, and with any error that the
   *   token function throws
   */
  async join(roomCode) {
    this.#roomCode = roomCode;
    await this.client.connect();
    return this.client.request("join:room", {roomCode, resumable: true});
  }

  /** Leave the room at once and for good. */
  leave() {
    this.client.send("leave:room");
    this.close();
  }

  close() {
    this.state = "out";
    this.#attempt += 1;
    this.backoff.cancel();
    this.client.close();
  }

  /** @param {RoomJoined} joined */
  #onJoined(joined) {
    const wasAway = this.state === "away";
    this.state = "in";
    this.peerId = joined.peerId;
    this.resumeWindow = joined.resumeWindow ?? 0;
    this.#resumeToken = joined.resumeToken;
    this.#isRenewing = false;
    this.backoff.succeeded();
    if (wasAway) this.#dispatch("back", joined);
  }

  /**
   * Handle an error that answers no request. Only `sfu_unavailable` without an event ends the
   * membership: without its SFU the room is too large for a mesh, and the peers that joined last,
   * including us, have been removed.
   * @param {ErrorFrame} frame
   */
  #onError(frame) {
    const isRemoved = frame.code === "sfu_unavailable" && !frame.event;
    if (this.state === "in" && isRemoved) this.#end(new SignallingError({...frame}));
  }

  /** @param {number} code @param {SignallingError} error */
  #onClosed(code, error) {
    if (this.state === "out") return; // the promise of the first join is rejected
    if (!mayReconnect(code) && !this.#mayRenewToken(code)) return this.#end(error);
    const wasIn = this.state === "in";
    this.state = "away";
    this.#retryLater(error.retryAfter);
    if (wasIn) this.#dispatch("away");
  }

  /**
   * Allow one attempt with another token: if that one is refused too, the cause is not the token.
   * @param {number} code
   */
  #mayRenewToken(code) {
    const may = code === UNAUTHENTICATED && typeof this.client.token === "function" && !this.#isRenewing;
    if (may) this.#isRenewing = true;
    return may;
  }

  /**
   * Present another token on the open socket. If that fails, the server closes it at the expiry,
   * and "closed" allows one more attempt.
   */
  async #renewToken() {
    const {token: getToken} = this.client;
    if (typeof getToken !== "function") return;
    try {
      const token = await getToken();
      if (token) await this.client.request("authenticate", {token});
    } catch {
      // The membership goes on until the expiry.
    }
  }

  /** @param {number} [retryAfter] seconds */
  #retryLater(retryAfter) {
    this.#attempt += 1;
    this.backoff.wait(retryAfter);
  }

  async #reconnect() {
    const attempt = ++this.#attempt;
    try {
      if (!this.client.connected) await this.client.connect();
      if (attempt === this.#attempt) await this.#rejoin();
    } catch (error) {
      if (attempt === this.#attempt) this.#onFailure(error);
    }
  }

  #rejoin() {
    const data = {roomCode: this.#roomCode, resumable: true, resumeToken: this.#resumeToken};
    return this.client.request("join:room", data, RESUME_TIMEOUT);
  }

  /** @param {unknown} error why an attempt failed */
  #onFailure(error) {
    // The token function failed: most likely its server cannot be reached either.
    if (!(error instanceof SignallingError)) return this.#retryLater();
    if (error.closeCode !== undefined) return; // the socket is closing, and "closed" follows
    if (NOT_RESUMABLE.has(error.code) && this.#resumeToken) {
      this.#resumeToken = undefined;
      this.#reconnect();
    } else if (["unavailable", "rate_limited"].includes(error.code)) this.#retryLater(error.retryAfter);
    else if (error.code === "timeout") this.client.drop();
    else this.#end(error);
  }

  /** @param {SignallingError} error */
  #end(error) {
    this.close();
    this.#dispatch("ended", error);
  }

  /** @param {string} event @param {unknown} [detail] */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, {detail}));
  }
}
