/**
 * Fires when a connection has not recovered by itself in time, and again with growing intervals.
 */

const RECOVERY_TIMEOUT = 15_000; // an ICE restart begins 5 s after a loss and has 10 s to succeed
const FAILURE_TIMEOUT = 1_000;
const MAX_TIMEOUT = 60_000;

export class Watchdog {
  #timeouts = 0;
  #hasFailed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} onTimeout */
  constructor(onTimeout) {
    this.onTimeout = onTimeout;
  }

  /**
   * Call this after every change of the connection.
   * @param {boolean} isHealthy
   * @param {boolean} [hasFailed] whether the connection does not recover by itself
   */
  update(isHealthy, hasFailed = false) {
    if (isHealthy) return this.reset();
    if (hasFailed && !this.#hasFailed) this.pause();
    if (this.#timer !== undefined) return;
    this.#hasFailed = hasFailed;
    const timeout = (hasFailed ? FAILURE_TIMEOUT : RECOVERY_TIMEOUT) * 2 ** this.#timeouts;
    this.#timer = setTimeout(() => this.#fire(), Math.min(timeout, MAX_TIMEOUT));
  }

  /** Stop, and start over with the shortest interval. */
  reset() {
    this.pause();
    this.#timeouts = 0;
  }

  /** Stop while nothing can be done, and keep the current interval. */
  pause() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#hasFailed = false;
  }

  #fire() {
    const hasFailed = this.#hasFailed;
    this.#timeouts += 1;
    this.pause();
    this.update(false, hasFailed);
    this.onTimeout();
  }
}
