/**
 * What the server wants to hear of us after a switch to the SFU, once for each version of the mode: that we receive
 * everybody from there, or that we cannot reach it. Who does not arrive holds nobody up for long.
 */
const CONNECT_PATIENCE = 10_000;
const ARRIVAL_PATIENCE = 5_000; // from our own connection on

/** @typedef {"receiving" | "failed"} Verdict */
/** @typedef {ReturnType<typeof setTimeout>} Timer */

export class Report {
  /** @type {Verdict | null} */
  told = null;
  /** @type {Timer | undefined} */
  #deadline;
  /** @type {Timer | undefined} */
  #patience;
  #isOver = true;

  /**
   * @param {object} owner
   * @param {() => boolean} owner.isConnected whether what we send reaches the SFU
   * @param {() => boolean} owner.hasAll whether everybody's media has arrived
   * @param {(verdict: Verdict) => void} owner.tell
   */
  constructor(owner) {
    this.owner = owner;
  }

  /** A new version. @param {boolean} isSwitching whether somebody waits for us: then that we cannot is news, too */
  begin(isSwitching) {
    this.end();
    this.told = null;
    this.#isOver = false;
    if (isSwitching) this.#deadline = setTimeout(() => this.#tell("failed"), CONNECT_PATIENCE);
  }

  /** Something has changed. */
  look() {
    if (this.#isOver || !this.owner.isConnected()) return;
    clearTimeout(this.#deadline);
    if (this.owner.hasAll()) this.#tell("receiving");
    else this.#patience ??= setTimeout(() => this.#runOut(), ARRIVAL_PATIENCE);
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  #runOut() {
    this.#patience = undefined;
    if (this.owner.isConnected()) this.#tell("receiving");
  }

  /** Who has failed may still get there. @param {Verdict} verdict */
  #tell(verdict) {
    if (verdict === "receiving") this.end();
    this.told = verdict;
    this.owner.tell(verdict);
  }
}
