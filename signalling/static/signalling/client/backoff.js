/**
 * When a lost connection may be reopened, and how long to wait first. Knows nothing about sockets.
 */

/** PROTOCOL.md, "Close codes": clients may reconnect after these. */
const RECONNECTABLE = new Set([1001, 1006, 1012, 4408, 4500, 4503, 4508]);

const MAX_FIRST_DELAY = 1_000; // spreads out the clients of a server that has restarted
const DELAYS = [1_000, 2_000, 4_000, 7_000]; // the last one repeats
const JITTER = 0.5;
const STABLE_AFTER = 10_000; // a connection that lasted this long resets the delays

/** @param {number} closeCode */
export function mayReconnect(closeCode) {
  return RECONNECTABLE.has(closeCode);
}

/**
 * Return how long to wait before an attempt.
 * @param {number} attempt 0 for the first one after a loss
 * @param {() => number} [random] from 0 to 1
 * @returns {number} milliseconds
 */
export function delay(attempt, random = Math.random) {
  if (attempt === 0) return random() * MAX_FIRST_DELAY;
  const base = DELAYS[Math.min(attempt, DELAYS.length) - 1] ?? MAX_FIRST_DELAY;
  return base * (1 - JITTER + 2 * JITTER * random());
}

/** The waits between attempts. A hint that the network may be available again ends a wait early. */
export class Backoff {
  #attempt = 0;
  #connectedAt = -Infinity;
  #notBefore = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} */
  #hints = null;

  /**
   * @param {() => void} retry called after a wait
   * @param {object} [page] the source of the hints; Node has none
   * @param {EventTarget} [page.window]
   * @param {Document} [page.document]
   */
  constructor(retry, {window = globalThis.window, document = globalThis.document} = {}) {
    this.retry = retry;
    this.window = window;
    this.document = document;
  }

  /**
   * Wait for the next attempt.
   * @param {number} [retryAfter] seconds that the server asked for; hints do not shorten these
   */
  wait(retryAfter = 0) {
    this.cancel();
    if (Date.now() - this.#connectedAt >= STABLE_AFTER) this.#attempt = 0;
    this.#connectedAt = Infinity; // a connection resets the delays once
    const wait = delay(this.#attempt);
    this.#attempt += 1;
    // Stored, because the close that follows such an error does not repeat it.
    this.#notBefore = Math.max(this.#notBefore, Date.now() + retryAfter * 1000);
    const required = this.#notBefore - Date.now();
    if (required > 0) this.#timer = setTimeout(() => this.#waitForTimerOrHint(wait), required);
    else this.#waitForTimerOrHint(wait);
  }

  /**
   * An attempt succeeded. The delays start over once the connection has been stable for a while.
   */
  succeeded() {
    this.cancel();
    this.#connectedAt = Date.now();
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#hints?.abort();
    this.#hints = null;
  }

  /** @param {number} wait milliseconds */
  #waitForTimerOrHint(wait) {
    const {signal} = (this.#hints = new AbortController());
    const retry = () => {
      this.cancel();
      this.retry();
    };
    const retryIfVisible = () => this.document.visibilityState === "visible" && retry();
    this.#timer = setTimeout(retry, wait);
    this.window?.addEventListener("online", retry, {signal});
    this.document?.addEventListener("visibilitychange", retryIfVisible, {signal});
  }
}
