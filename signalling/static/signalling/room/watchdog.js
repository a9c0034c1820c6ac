/** Watches a connection that mends itself, and asks for another one when it has had its time; then ever more seldom. */

const PATIENCE = 15_000; // a restart of ICE begins 5 s after a loss, and has 10
const HASTE = 1_000;
const LONGEST = 60_000;

export class Watchdog {
  #barks = 0;
  #isHasty = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} bark */
  constructor(bark) {
    this.bark = bark;
  }

  /** @param {boolean} isWell @param {boolean} [isOver] whether it has given up, so that there is nothing to wait for */
  look(isWell, isOver = false) {
    if (isWell) return this.rest();
    if (isOver && !this.#isHasty) this.pause();
    if (this.#timer !== undefined) return;
    this.#isHasty = isOver;
    const wait = (isOver ? HASTE : PATIENCE) * 2 ** this.#barks;
    this.#timer = setTimeout(() => this.#bark(), Math.min(wait, LONGEST));
  }

  /** All is well, or nothing is to be watched. */
  rest() {
    this.pause();
    this.#barks = 0;
  }

  /** Nothing that we could do would help. */
  pause() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isHasty = false;
  }

  #bark() {
    const isOver = this.#isHasty;
    this.#barks += 1;
    this.pause();
    this.look(false, isOver);
    this.bark();
  }
}
