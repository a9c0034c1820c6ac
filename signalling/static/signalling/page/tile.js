/** One participant on the stage: a <figure> with the video, the name and their state in words. */
import {find} from "./dom.js";
import {fill} from "./gettext.js";
import {TEXTS} from "./texts.js";

/** @import {Participant, Path, PeerState} from "../index.js" */

/**
 * The part of a participant that is shown. The user's own tile has no path.
 * @typedef {Pick<Participant, "id" | "name" | "media" | "state" | "away" | "stream"> &
 *   Partial<Pick<Participant, "username" | "displayName">> & {path: Path | null}} Shown
 */

/** @type {Record<PeerState, string>} */
const STATES = {
  connecting: TEXTS.peerConnecting,
  connected: "",
  reconnecting: TEXTS.peerInterrupted,
  failed: TEXTS.peerFailed,
  closed: "",
};

const PATHS = {mesh: TEXTS.direct, sfu: TEXTS.viaServer};

export class Tile {
  /**
   * @param {HTMLTemplateElement} template
   * @param {Shown} participant
   * @param {{own?: boolean}} [options]
   */
  constructor(template, participant, {own = false} = {}) {
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.figure = find(copy, "figure", HTMLElement);
    this.video = find(copy, "video", HTMLVideoElement);
    this.figure.dataset.peerId = participant.id;
    this.own = own;
    this.video.muted = own; // users must not hear themselves
    this.show(participant);
  }

  /** @param {Shown} participant */
  show({name, username = name, displayName, media, state, away, stream, path}) {
    // Some clients do not report their media: then show video if there is a video track.
    const hasVideo = media.video ?? stream.getVideoTracks().length > 0;
    const caption = this.own ? fill(TEXTS.you, {name}) : name;
    this.figure.setAttribute("aria-label", caption);
    this.figure.dataset.state = state;
    if (path) this.figure.dataset.path = path;
    this.#setText("name", caption);
    find(this.figure, "[data-name]", HTMLElement).title = username;
    this.#setText("avatar", [...(displayName || username)][0]?.toUpperCase() ?? "?");
    this.#setText("microphone", media.audio === false ? TEXTS.muted : "");
    this.#setText("camera", media.video === false ? TEXTS.cameraOff : "");
    this.#setText("state", away ? TEXTS.peerAway : STATES[state]);
    this.#setText("via", path ? PATHS[path] : "");
    this.figure.classList.toggle("no-video", !hasVideo);
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
    if (stream.getTracks().length) this.play();
  }

  play() {
    this.video.play().catch((error) => this.#onPlayFailed(error));
  }

  remove() {
    this.video.srcObject = null;
    this.figure.remove();
  }

  /** @param {string} part @param {string} text hides the part if empty */
  #setText(part, text) {
    const element = find(this.figure, `[data-${part}]`, HTMLElement);
    element.textContent = text;
    element.hidden = text === "";
  }

  /** Browsers may require a click before they play sound. @param {unknown} error */
  #onPlayFailed(error) {
    const isBlocked = error instanceof DOMException && error.name === "NotAllowedError";
    if (isBlocked) this.figure.dispatchEvent(new CustomEvent("soundblocked", {bubbles: true}));
  }
}
