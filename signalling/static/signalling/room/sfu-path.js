/**
 * The path through the SFU: starts and stops our session there, asks the server for another one if
 * it does not recover, and drains it when the room returns to a mesh.
 */
import {PUBLISH, SUBSCRIBE} from "../sfu/addresses.js";
import {createSfu} from "../sfu/providers.js";
import {Watchdog} from "./watchdog.js";

/** @import {Outgoing} from "../client/outgoing.js" */
/** @import {MediaState, SfuAccess} from "../client/protocol.js" */
/** @import {LocalMedia} from "../rtc/senders.js" */
/** @import {SfuSession} from "../sfu/types.js" */
/** @import {Verdict} from "./switch-report.js" */

const DRAIN_TIMEOUT = 15_000; // how long the SFU is kept at most after the room returns to a mesh
// Our requests to the server are sent through `outgoing`, which repeats them if the socket is lost.
const RESTART = "sfu:restart";
const STATE = "sfu:state";

export class SfuPath {
  /** @type {SfuSession | null} */
  session = null;
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #drainTimer;
  #watchdog = new Watchdog(() => this.#request(RESTART, {anew: true}));

  /**
   * @param {object} options
   * @param {Outgoing} options.outgoing
   * @param {LocalMedia} options.media
   * @param {(peerId: string) => MediaState | undefined} options.mediaOf what a peer reports that it
   *   sends
   * @param {(peerId: string | null) => void} options.onChange with the peer whose tracks may have
   *   changed
   */
  constructor({outgoing, media, mediaOf, onChange}) {
    this.outgoing = outgoing;
    this.media = media;
    this.mediaOf = mediaOf;
    this.onChange = onChange;
  }

  /** Start a session in place of the current one. @param {SfuAccess | undefined} access */
  start(access) {
    this.stop();
    const session = createSfu(access, {
      iceServers: this.#iceServers,
      media: this.media,
      send: (target, event, data) => this.outgoing.send(target, event, data),
      restart: () => this.#request(RESTART, {}),
      mediaOf: this.mediaOf,
    });
    this.session = session;
    for (const event of ["stream", "arrived", "state"])
      session?.addEventListener(event, (occurred) => {
        const {detail} = /** @type {CustomEvent} */ (occurred);
        if (session === this.session) this.onChange(event === "stream" ? detail.peerId : null);
      });
    session?.start();
  }

  stop() {
    clearTimeout(this.#drainTimer);
    this.#drainTimer = undefined;
    this.#watchdog.pause();
    const {session} = this;
    this.session = null;
    session?.close();
    for (const id of [PUBLISH, SUBSCRIBE, RESTART]) this.outgoing.discard(id);
  }

  /** Stop, and forget everything about the room. */
  reset() {
    this.stop();
    this.#watchdog.reset();
    this.outgoing.discard(STATE);
  }

  /**
   * Keep the session for a while, until every participant is shown from the mesh.
   * @param {() => void} onTimeout
   */
  drain(onTimeout) {
    if (this.session) this.#drainTimer ??= setTimeout(onTimeout, DRAIN_TIMEOUT);
  }

  /** Call this after every change. @param {boolean} isWatched whether another session could help */
  watch(isWatched) {
    if (isWatched && this.session) this.#watchdog.update(this.session.isHealthy, this.session.hasFailed);
    else this.#watchdog.pause();
  }

  /** @param {number} version of the mode @param {Verdict} state */
  report(version, state) {
    this.#request(STATE, {version, state});
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#iceServers = iceServers;
    this.session?.setIceServers(iceServers);
  }

  /**
   * Send a request, in place of an earlier one that could not be sent yet.
   * @param {string} event
   * @param {object} data
   */
  #request(event, data) {
    this.outgoing.discard(event);
    this.outgoing.send(event, event, data);
  }
}
