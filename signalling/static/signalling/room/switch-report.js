/**
 * Reports to the server, for each version of the mode, whether we receive everyone from the SFU or
 * cannot connect to it. A peer whose media does not arrive delays the report only for a while.
 */
const CONNECT_TIMEOUT = 10_000;
const MEDIA_TIMEOUT = 5_000; // starts when we are connected

/** @typedef {"receiving" | "failed"} Verdict */
/** @typedef {ReturnType<typeof setTimeout>} Timer */

export class SwitchReport {
  /** The verdict last sent for this version. @type {Verdict | null} */
  sent = null;
  /** @type {Timer | undefined} */
  #connectTimer;
  /** @type {Timer | undefined} */
  #mediaTimer;
  #isOver = true;

  /**
   * @param {object} callbacks
   * @param {() => boolean} callbacks.isConnected returns whether what we send reaches the SFU
   * @param {() => boolean} callbacks.hasAll returns whether every peer's media has arrived
   * @param {(verdict: Verdict) => void} callbacks.send
   */
  constructor(callbacks) {
    this.callbacks = callbacks;
  }

  /**
   * Start the report for a new version.
   * @param {boolean} isSwitching whether the room waits for our report: then a failure is reported
   *   too
   */
  begin(isSwitching) {
    this.end();
    this.sent = null;
    this.#isOver = false;
    if (isSwitching) this.#connectTimer = setTimeout(() => this.#send("failed"), CONNECT_TIMEOUT);
  }

  /** Call this after every change. */
  update() {
    if (this.#isOver || !this.callbacks.isConnected()) return;
    clearTimeout(this.#connectTimer);
    if (this.callbacks.hasAll()) this.#send("receiving");
    else this.#mediaTimer ??= setTimeout(() => this.#onMediaTimeout(), MEDIA_TIMEOUT);
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#mediaTimer);
    this.#mediaTimer = undefined;
  }

  #onMediaTimeout() {
    this.#mediaTimer = undefined;
    if (this.callbacks.isConnected()) this.#send("receiving");
  }

  /** A failure is not final: "receiving" may follow. @param {Verdict} verdict */
  #send(verdict) {
    if (verdict === "receiving") this.end();
    this.sent = verdict;
    this.callbacks.send(verdict);
  }
}
