/** The page around the tiles: the visible section, status messages and error messages. */
import {find} from "./dom.js";
import {fill} from "./gettext.js";
import {TEXTS} from "./texts.js";

/** @import {ErrorText} from "./error-texts.js" */
/** @typedef {"lobby" | "joining" | "call" | "ended"} State the `data-state` of the root element */

export class Screen {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.stage = this.#part("stage");
    this.status = this.#part("status");
    this.connection = this.#part("connection");
    this.notice = this.#part("notice");
    this.noticeText = this.#part("notice-text");
    this.tile = find(root, "template", HTMLTemplateElement);
    this.form = find(root, "form", HTMLFormElement);
  }

  get state() {
    return /** @type {State} */ (this.root.dataset.state);
  }

  /** The devices that are selected in the lobby. */
  get wanted() {
    const data = new FormData(this.form);
    return {audio: data.has("microphone"), video: data.has("camera")};
  }

  /** @param {string} action @returns {HTMLButtonElement} */
  button(action) {
    return find(this.root, `[data-do="${action}"]`, HTMLButtonElement);
  }

  showLobby() {
    this.#show("lobby");
    this.button("join").focus(); // the control that started the call
  }

  showJoining() {
    this.dismiss();
    this.#show("joining");
  }

  /** @param {number} others how many others are in the call */
  showCall(others) {
    this.#show("call");
    this.showStatus(others ? fill(TEXTS.othersInCall, {count: others}) : TEXTS.firstOne);
    this.#part("call-title").focus();
  }

  /** Show why the call has ended, and what the user can do. @param {ErrorText} text */
  showEnd({title, advice, action}) {
    this.dismiss();
    this.#part("ended-title").textContent = title;
    this.#part("ended-text").textContent = advice;
    for (const element of this.#all("[data-action]"))
      element.hidden = ![action, "home"].includes(element.dataset.action ?? "");
    this.#show("ended");
    this.#part("ended-title").focus();
  }

  /** Show an event of the call. Screen readers announce it politely. @param {string} text */
  showStatus(text) {
    this.status.textContent = text;
  }

  /**
   * Show the state of the connection for as long as it lasts.
   * @param {string} text empty if it is healthy
   */
  showConnection(text) {
    this.connection.textContent = text;
  }

  /** Show a problem that does not end the call. @param {string} problem */
  showProblem(problem) {
    const earlier = this.notice.hidden ? "" : `${this.noticeText.textContent} `;
    this.noticeText.textContent = earlier.includes(problem) ? earlier.trim() : earlier + problem;
    this.notice.hidden = false;
  }

  dismiss() {
    this.notice.hidden = true;
    this.noticeText.textContent = "";
  }

  /** @param {string} name */
  #part(name) {
    return find(this.root, `[data-part="${name}"]`, HTMLElement);
  }

  /** @param {string} selector @returns {HTMLElement[]} */
  #all(selector) {
    return [...this.root.querySelectorAll(selector)].filter((element) => element instanceof HTMLElement);
  }

  /** @param {State} state */
  #show(state) {
    this.root.dataset.state = state;
    for (const section of this.#all("[data-in]")) section.hidden = !section.dataset.in?.split(" ").includes(state);
  }
}
