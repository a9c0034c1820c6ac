/** The page around the tiles: which of its sections shows, what it announces, and the error messages. */
import {find} from "./dom.js";

/** @typedef {"lobby" | "joining" | "call" | "ended"} State the root's `data-state` */

export class Screen {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.stage = this.#part("stage");
    this.news = this.#part("news");
    this.signalling = this.#part("signalling");
    this.notice = this.#part("notice");
    this.noticeText = this.#part("notice-text");
    this.tile = find(root, "template", HTMLTemplateElement);
    this.form = find(root, "form", HTMLFormElement);
  }

  get state() {
    return /** @type {State} */ (this.root.dataset.state);
  }

  /** Which devices the form in the lobby asks for. */
  get wish() {
    const data = new FormData(this.form);
    return {audio: data.has("microphone"), video: data.has("camera")};
  }

  /** @param {string} action @returns {HTMLButtonElement} */
  button(action) {
    return find(this.root, `[data-do="${action}"]`, HTMLButtonElement);
  }

  showLobby() {
    this.#show("lobby");
    this.button("join").focus(); // back to what began the call
  }

  showJoining() {
    this.dismiss();
    this.#show("joining");
  }

  /** @param {number} others how many are there already */
  showCall(others) {
    this.#show("call");
    this.tell(others ? `Others here: ${others}` : "Nobody else is here yet. Copy the link to invite somebody.");
    this.#part("call-title").focus();
  }

  /** @param {import("./error-texts.js").Message} message why the call is over, and the ways on */
  showEnd({what, todo, way}) {
    this.dismiss();
    this.#part("ended-title").textContent = what;
    this.#part("ended-text").textContent = todo;
    for (const element of this.#all("[data-way]")) element.hidden = ![way, "home"].includes(element.dataset.way ?? "");
    this.#show("ended");
    this.#part("ended-title").focus();
  }

  /** Say something that is no problem, politely. @param {string} news */
  tell(news) {
    this.news.textContent = news;
  }

  /** Say what has become of the connection to the server, for as long as it is so. @param {string} state empty when it is well */
  tellSignalling(state) {
    this.signalling.textContent = state;
  }

  /** Say that something went wrong that the call survives. @param {string} problem */
  warn(problem) {
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
