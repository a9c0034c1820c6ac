/** When a lost connection may be opened again, and how long to wait before. Nothing here knows of sockets. */

/** PROTOCOL.md, "Close codes": after these a client may come back by itself. */
const RECONNECTABLE = new Set([1001, 1006, 1012, 4408, 4500, 4503, 4508]);

const FIRST = 1_000; // at most: all clients of a server that has restarted must not come at once
const STEPS = [1_000, 2_000, 4_000, 7_000]; // then always the last one
const SPREAD = 0.5;
const STEADY = 10_000; // a connection that has held for so long was a good one

/** @param {number} closeCode */
export function mayReconnect(closeCode) {
  return RECONNECTABLE.has(closeCode);
}

/**
 * How long to wait before an attempt.
 * @param {number} attempt 0 for the first one after a loss
 * @param {() => number} [random] from 0 to 1
 * @returns {number} milliseconds
 */
export function delay(attempt, random = Math.random) {
  if (attempt === 0) return random() * FIRST;
  const step = STEPS[Math.min(attempt, STEPS.length) - 1] ?? FIRST;
  return step * (1 - SPREAD + 2 * SPREAD * random());
}

/** The waits between the attempts. What tells that the network may be back ends a wait. */
export class Backoff {
  #attempt = 0;
  #connectedAt = -Infinity;
  #notBefore = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} */
  #hints = null;

  /**
   * @param {() => void} go what to do after a wait
   * @param {object} [page] where the hints come from; there are none in Node
   * @param {EventTarget} [page.window]
   * @param {Document} [page.document]
   */
  constructor(go, {window = globalThis.window, document = globalThis.document} = {}) {
    this.go = go;
    this.window = window;
    this.document = document;
  }

  /** Wait for the next attempt. @param {number} [retryAfter] seconds that the server has asked for; nothing skips these */
  wait(retryAfter = 0) {
    this.cancel();
    if (Date.now() - this.#connectedAt >= STEADY) this.#attempt = 0;
    this.#connectedAt = Infinity; // counts for one loss
    const wait = delay(this.#attempt);
    this.#attempt += 1;
    // Remembered, for the close that follows such a refusal does not say it again.
    this.#notBefore = Math.max(this.#notBefore, Date.now() + retryAfter * 1000);
    const asked = this.#notBefore - Date.now();
    if (asked > 0) this.#timer = setTimeout(() => this.#waitOrHint(wait), asked);
    else this.#waitOrHint(wait);
  }

  /** An attempt was good; the next loss begins with the shortest wait again, unless it follows at once. */
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
  #waitOrHint(wait) {
    const {signal} = (this.#hints = new AbortController());
    const go = () => {
      this.cancel();
      this.go();
    };
    this.#timer = setTimeout(go, wait);
    this.window?.addEventListener("online", go, {signal});
    this.document?.addEventListener("visibilitychange", () => this.document.visibilityState === "visible" && go(), {signal});
  }
}
