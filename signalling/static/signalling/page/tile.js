/** One participant's place on the stage: a <figure> with the video, the name and what they are up to, in words. */
import {find} from "./dom.js";

/**
 * What is shown of a participant, or of ourselves, who take no path.
 * @typedef {Pick<import("../room/room.js").Participant, "id" | "name" | "media" | "state" | "away" | "stream"> &
 *   {path: import("../room/paths.js").Path | null}} Shown
 */

/** @type {Record<import("../mesh/peer.js").PeerState, string>} */
const STATES = {
  connecting: "connecting…",
  connected: "",
  reconnecting: "connection interrupted…",
  failed: "no connection; trying again…",
  closed: "",
};

const AWAY = "reconnecting…";

const PATHS = {mesh: "direct", sfu: "via server"};

export class Tile {
  /** @param {HTMLTemplateElement} template @param {Shown} participant @param {{own?: boolean}} [options] */
  constructor(template, participant, {own = false} = {}) {
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.figure = find(copy, "figure", HTMLElement);
    this.video = find(copy, "video", HTMLVideoElement);
    this.figure.dataset.peerId = participant.id;
    this.own = own;
    this.video.muted = own; // nobody wants to hear themselves
    this.show(participant);
  }

  /** @param {Shown} participant */
  show({name, media, state, away, stream, path}) {
    // A seed-style client says nothing of its media: then what arrives is what there is.
    const seen = media.video ?? stream.getVideoTracks().length > 0;
    this.figure.setAttribute("aria-label", this.own ? `${name} (you)` : name);
    this.figure.dataset.state = state;
    if (path) this.figure.dataset.path = path;
    this.#text("name", this.own ? `${name} (you)` : name);
    this.#text("avatar", [...name][0]?.toUpperCase() ?? "?");
    this.#text("microphone", media.audio === false ? "muted" : "");
    this.#text("camera", media.video === false ? "camera off" : "");
    this.#text("state", away ? AWAY : STATES[state]);
    this.#text("via", path ? PATHS[path] : "");
    this.figure.classList.toggle("unseen", !seen);
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
    if (stream.getTracks().length) this.play();
  }

  play() {
    this.video.play().catch((error) => this.#refused(error));
  }

  remove() {
    this.video.srcObject = null;
    this.figure.remove();
  }

  /** @param {string} part @param {string} text empty hides it */
  #text(part, text) {
    const element = find(this.figure, `[data-${part}]`, HTMLElement);
    element.textContent = text;
    element.hidden = text === "";
  }

  /** A browser may want a tap before it makes sound. @param {unknown} error */
  #refused(error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    if (refused) this.figure.dispatchEvent(new CustomEvent("soundrefused", {bubbles: true}));
  }
}
