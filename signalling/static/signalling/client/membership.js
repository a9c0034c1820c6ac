/**
 * Our place in a room, which outlives the socket: when that is lost, another one is opened and the server gives the
 * same place back (PROTOCOL.md, "Membership"). No DOM, no WebRTC: meanwhile the media flows as before.
 *
 * Events: "away" when the socket is lost and will be replaced, "back" (detail: RoomJoined) when we are in the room
 * again, "ended" (detail: SignallingError) when we are not and shall not be. After "back" with `resumed: false` the
 * place had been given up and this is another one: with another peer id, everything is built anew.
 */
import {SignallingError} from "./errors.js";
import {Backoff, mayReconnect} from "./backoff.js";

/** @typedef {import("./client.js").SignallingClient} SignallingClient */
/** @typedef {import("./protocol.js").RoomJoined} RoomJoined */

const UNAUTHENTICATED = 4401;
const RESUME_PATIENCE = 5_000; // the token stays good for 10 s after an answer that was lost
const GIVEN_UP = new Set(["resume_expired", "resume_invalid"]);

export class Membership extends EventTarget {
  /** @type {"out" | "in" | "away"} */
  state = "out";
  /** @type {string | null} our id in the room */
  peerId = null;
  /** How many seconds the server keeps our place without a socket. */
  resumeWindow = 0;

  #roomCode = "";
  /** @type {string | undefined} good for one resume */
  #resumeToken;
  /** Attempts are numbered: what an earlier one still reports is not ours any more. */
  #attempt = 0;
  /** Whether the app was asked for another token since we were last in the room. */
  #isRenewing = false;

  /**
   * @param {SignallingClient} client
   * @param {ConstructorParameters<typeof Backoff>[1]} [page]
   */
  constructor(client, page) {
    super();
    this.client = client;
    this.backoff = new Backoff(() => this.#comeBack(), page);
    client.on("closed", ({code, error}) => this.#lose(code, error));
    client.on("room:joined", (joined) => this.#enter(joined));
    client.on("error", (frame) => this.#complain(frame));
  }

  /**
   * The first join. Until it is done nothing is tried twice: somebody waits in front of the page.
   * @param {string} roomCode
   * @returns {Promise<RoomJoined>} rejected with a SignallingError, and with what a token function throws
   */
  async join(roomCode) {
    this.#roomCode = roomCode;
    await this.client.connect();
    return this.client.request("join:room", {roomCode, resumable: true});
  }

  /** Give the place up, at once and for good. */
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
  #enter(joined) {
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
   * An error that answers no request. One of them is no error of ours: the room fits into no mesh without its SFU, and
   * those who came last, we among them, have left.
   * @param {import("./protocol.js").ErrorFrame} frame
   */
  #complain(frame) {
    if (this.state === "in" && frame.code === "sfu_unavailable" && !frame.event) this.#end(new SignallingError({...frame}));
  }

  /** @param {number} code @param {SignallingError} error */
  #lose(code, error) {
    if (this.state === "out") return; // whoever waits for the first join is told by its rejection
    if (!mayReconnect(code) && !this.#mayRenew(code)) return this.#end(error);
    const wasIn = this.state === "in";
    this.state = "away";
    this.#tryLater(error.retryAfter);
    if (wasIn) this.#dispatch("away");
  }

  /** Only another token helps here, and one try with it: a second refusal is not about the token. @param {number} code */
  #mayRenew(code) {
    const may = code === UNAUTHENTICATED && typeof this.client.token === "function" && !this.#isRenewing;
    if (may) this.#isRenewing = true;
    return may;
  }

  /** @param {number} [retryAfter] seconds */
  #tryLater(retryAfter) {
    this.#attempt += 1;
    this.backoff.wait(retryAfter);
  }

  async #comeBack() {
    const attempt = ++this.#attempt;
    try {
      if (!this.client.connected) await this.client.connect();
      if (attempt === this.#attempt) await this.#joinAgain();
    } catch (error) {
      if (attempt === this.#attempt) this.#refuse(error);
    }
  }

  #joinAgain() {
    const data = {roomCode: this.#roomCode, resumable: true, resumeToken: this.#resumeToken};
    return this.client.request("join:room", data, RESUME_PATIENCE);
  }

  /** @param {unknown} error why an attempt has failed, if it was not for a loss of the socket: "closed" tells that */
  #refuse(error) {
    // The app could not give a token: most likely its server cannot be reached either.
    if (!(error instanceof SignallingError)) return this.#tryLater();
    if (error.closeCode !== undefined) return; // the socket is closing already, and "closed" follows
    if (GIVEN_UP.has(error.code) && this.#resumeToken) {
      this.#resumeToken = undefined;
      this.#comeBack();
    } else if (error.code === "unavailable") this.#tryLater(error.retryAfter);
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
