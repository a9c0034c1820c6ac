/** Requests that await an answer, by the id of their frame. */
import {SignallingError} from "./errors.js";

/**
 * @typedef {object} Pending
 * @property {(data: any) => void} resolve
 * @property {(error: SignallingError) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 */

export class PendingRequests {
  #lastId = 0;
  /** @type {Map<string | number, Pending>} */
  #pending = new Map();

  /**
   * @param {string} event
   * @param {number} timeout in milliseconds
   * @returns {{id: number, answer: Promise<any>}} `answer` is rejected with the code "timeout" in
   *   the end
   */
  add(event, timeout) {
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => {
      const expire = () => this.settle(id, new SignallingError({code: "timeout", event}));
      this.#pending.set(id, {resolve, reject, timer: setTimeout(expire, timeout)});
    });
    return {id, answer};
  }

  /**
   * Resolve a request with its answer, or reject it with an error.
   * @param {string | number | undefined} id
   * @param {unknown} outcome
   * @returns {boolean} whether a request with this id was pending
   */
  settle(id, outcome) {
    const pending = id === undefined ? undefined : this.#pending.get(id);
    if (id === undefined || !pending) return false;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    if (outcome instanceof SignallingError) pending.reject(outcome);
    else pending.resolve(outcome);
    return true;
  }

  /** @param {SignallingError} error */
  rejectAll(error) {
    for (const id of [...this.#pending.keys()]) this.settle(id, error);
  }
}
