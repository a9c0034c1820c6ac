/**
 * The call page: connects the controls on the screen to the library.
 *
 * For debugging and for tests, the root element has the controller:
 * `document.querySelector("[data-call]").call.room.peers`.
 */
import {
  Devices, Membership, Room, SignallingClient, SignallingError, isReservedId, sameOriginSocket,
} from "../index.js";
import {explain} from "./error-texts.js";
import {fill} from "./gettext.js";
import {Screen} from "./screen.js";
import {TEXTS} from "./texts.js";
import {Tile} from "./tile.js";

/** @import {ErrorFrame, Participant, WantedDevices} from "../index.js" */
/**
 * @typedef {object} Session
 * @property {SignallingClient} client
 * @property {Membership} membership
 * @property {Devices} devices
 * @property {Room} room
 */

const OWN = "own"; // the key of the user's own tile; peer ids begin with "peer_"

export class Call {
  /** @type {Session | null} */
  session = null;
  /** @type {Map<string, Tile>} */
  tiles = new Map();
  /** Numbers the joins, so that events of earlier ones can be ignored. */
  #attempt = 0;

  /** @param {HTMLElement} root */
  constructor(root) {
    const {roomCode = "", userName = "", socketPath = "/ws/signalling/", returnUrl = ""} = root.dataset;
    this.code = roomCode;
    this.userName = userName;
    this.url = sameOriginSocket(socketPath);
    this.returnUrl = returnUrl;
    this.screen = new Screen(root);
    this.#listen();
  }

  get room() {
    return this.session?.room ?? null;
  }

  /** @param {WantedDevices} wanted */
  async join(wanted) {
    const attempt = ++this.#attempt;
    this.screen.showJoining();
    const devices = new Devices();
    const errors = await devices.open(wanted);
    if (attempt !== this.#attempt) return devices.close();
    try {
      await this.#enter(devices, attempt);
      for (const error of errors) this.#showError(error);
    } catch (error) {
      if (attempt === this.#attempt) this.#end(error);
    }
  }

  leave() {
    this.session?.membership.leave();
    this.#hangUp();
    this.screen.dismiss();
    this.screen.showLobby();
  }

  /** @param {Devices} devices @param {number} attempt */
  async #enter(devices, attempt) {
    const client = new SignallingClient({url: this.url});
    const membership = new Membership(client);
    const room = new Room(client, devices);
    this.session = {client, membership, devices, room};
    this.#listenTo(this.session, attempt);
    await membership.join(this.code);
    if (attempt !== this.#attempt) return;
    this.screen.showCall(room.participants.size);
    this.#showOwn();
  }

  #leaveAndReturn() {
    this.leave();
    if (this.returnUrl) location.assign(this.returnUrl);
  }

  /** @param {Session} session @param {number} attempt */
  #listenTo({client, membership, devices, room}, attempt) {
    /** @param {EventTarget} target @param {string} event @param {(detail: any) => void} handle */
    const on = (target, event, handle) =>
      target.addEventListener(event, (occurred) => {
        if (attempt === this.#attempt) handle(/** @type {CustomEvent} */ (occurred).detail);
      });
    for (const event of ["away", "back"]) on(membership, event, () => this.#showConnection());
    on(room, "lost", () => this.#showConnection());
    on(membership, "ended", (error) => this.#end(error));
    on(client, "room:closed", () => this.#end(new SignallingError({code: "room_closed"})));
    on(client, "error", (frame) => this.#onError(frame));
    on(room, "joined", (participant) => this.#addTile(participant));
    on(room, "changed", (participant) => this.tiles.get(participant.id)?.show(participant));
    on(room, "left", (participant) => this.#removeTile(participant));
    on(room, "failed", (error) => this.#showError(error));
    on(devices, "track", () => this.#showOwn());
  }

  /** @param {unknown} error why the call has ended */
  #end(error) {
    if (!(error instanceof SignallingError)) console.error(error);
    this.#hangUp();
    this.screen.showEnd(explain(error));
  }

  #hangUp() {
    this.#attempt += 1;
    this.session?.membership.close();
    this.session?.room.close();
    this.session?.devices.close();
    this.session = null;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.screen.button("sound").hidden = true;
    this.screen.showConnection("");
  }

  /** Show whether the socket or the SFU is being reconnected. */
  #showConnection() {
    const {membership, room} = this.session ?? {};
    const isAway = membership?.state === "away";
    this.screen.showConnection(isAway ? TEXTS.reconnecting : room?.switch.isLost ? TEXTS.sfuLost : "");
  }

  /** @param {Participant} participant */
  #addTile(participant) {
    const tile = new Tile(this.screen.tile, participant);
    this.tiles.set(participant.id, tile);
    this.screen.stage.append(tile.figure);
    this.screen.showStatus(fill(TEXTS.joined, participant));
  }

  /** @param {Participant} participant */
  #removeTile(participant) {
    this.tiles.get(participant.id)?.remove();
    this.tiles.delete(participant.id);
    this.screen.showStatus(fill(TEXTS.left, participant));
  }

  /** Update the user's own tile, and the buttons that show the same state. */
  #showOwn() {
    if (!this.session || this.screen.state !== "call") return;
    const {state: media, stream} = this.session.devices;
    const state = /** @type {const} */ ("connected");
    const own = {id: OWN, name: this.userName, media, state, away: false, stream, path: null};
    const tile = this.tiles.get(OWN) ?? new Tile(this.screen.tile, own, {own: true});
    if (!this.tiles.has(OWN)) this.screen.stage.prepend(tile.figure);
    this.tiles.set(OWN, tile);
    tile.show(own);
    this.screen.button("mute").setAttribute("aria-pressed", String(!media.audio));
    this.screen.button("camera").setAttribute("aria-pressed", String(!media.video));
  }

  /** @param {string} action @param {(devices: Devices) => Promise<void>} change */
  async #toggle(action, change) {
    const button = this.screen.button(action);
    if (!this.session || button.ariaBusy === "true") return; // the browser may be asking for permission
    button.ariaBusy = "true";
    this.screen.dismiss();
    try {
      await change(this.session.devices);
    } catch (error) {
      this.#showError(error);
    } finally {
      button.ariaBusy = "false";
    }
  }

  async #copyLink() {
    const link = location.origin + location.pathname; // the query is the user's own: where they return to
    try {
      await navigator.clipboard.writeText(link);
      this.screen.showStatus(TEXTS.linkCopied);
    } catch {
      this.screen.showProblem(fill(TEXTS.linkNotCopied, {link}));
    }
  }

  /**
   * Show an error that answers no request, unless another event reports it better.
   * @param {ErrorFrame} frame
   */
  #onError(frame) {
    const hasPeerLeft = frame.code === "peer_not_found"; // a candidate was sent too late; peer:left follows
    // The SFU session recovers by itself, and room:mode reports the outcome.
    const isAboutSfu =
      frame.event === "sfu:restart" || frame.code === "sfu_unavailable" || isReservedId(frame.targetPeerId ?? "");
    // The server closes the socket next, and the close is reported.
    const isAboutSocket = frame.code === "unavailable" && !frame.event && !frame.targetPeerId;
    if (!hasPeerLeft && !isAboutSfu && !isAboutSocket) this.#showError(new SignallingError({...frame}));
  }

  /** Show an error that does not end the call. @param {unknown} error */
  #showError(error) {
    const {title, advice} = explain(error);
    this.screen.showProblem(`${title} ${advice}`);
  }

  #playSound() {
    this.screen.button("sound").hidden = true;
    for (const tile of this.tiles.values()) tile.play();
  }

  #listen() {
    const {screen} = this;
    screen.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.join(screen.wanted);
    });
    /** @type {Record<string, () => void>} */
    const actions = {
      mute: () => this.#toggle("mute", (devices) => devices.setMicrophone(!devices.state.audio)),
      camera: () => this.#toggle("camera", (devices) => devices.setCamera(!devices.state.video)),
      copy: () => this.#copyLink(),
      leave: () => this.#leaveAndReturn(),
      again: () => this.join(screen.wanted),
      dismiss: () => screen.dismiss(),
      sound: () => this.#playSound(),
    };
    for (const [name, action] of Object.entries(actions)) screen.button(name).addEventListener("click", action);
    screen.root.addEventListener("soundblocked", () => (screen.button("sound").hidden = false));
    // Browsers may restore the page on "back"; its call would be dead.
    addEventListener("pagehide", () => this.session && this.leave());
    screen.button("join").disabled = false; // before this, a click would submit the form to the server
  }
}

const root = document.querySelector("[data-call]");
if (root instanceof HTMLElement) Object.assign(root, {call: new Call(root)});
