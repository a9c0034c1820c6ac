/** Watches a connection that mends itself, and asks for another one when it has had its time; then ever more seldom. */

const FIRST = 15_000; // a restart of ICE begins 5 s after a loss, and has 10
const LONGEST = 60_000;

export class Watchdog {
  #wait = FIRST;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} bark */
  constructor(bark) {
    this.bark = bark;
  }

  /** @param {boolean} isWell */
  look(isWell) {
    if (isWell) this.rest();
    else this.#timer ??= setTimeout(() => this.#bark(), this.#wait);
  }

  /** All is well, or nothing is to be watched. */
  rest() {
    this.pause();
    this.#wait = FIRST;
  }

  /** Nothing that we could do would help. */
  pause() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #bark() {
    this.#wait = Math.min(this.#wait * 2, LONGEST);
    this.#timer = undefined;
    this.look(false);
    this.bark();
  }
}
