/**
 * The call page: turns clicks into calls of the modules beside it, and their events into what is on the screen.
 *
 * For debugging and for tests the controller hangs on the root element:
 * `document.querySelector("[data-call]").call.room.peers`.
 */
import {SignallingClient, SignallingError, sameOriginSocket} from "../client/client.js";
import {isReserved} from "../sfu/connection.js";
import {Devices} from "../rtc/devices.js";
import {Membership} from "../client/membership.js";
import {RECONNECTING, SFU_LOST, explain} from "./error-texts.js";
import {Room} from "../room/room.js";
import {Screen} from "./screen.js";
import {Tile} from "./tile.js";

/** @typedef {import("../room/room.js").Participant} Participant */
/** @typedef {{client: SignallingClient, membership: Membership, media: Devices, room: Room}} Session */

const OWN = "own"; // the key of our own tile; never a peer id, those begin with "peer_"

export class Call {
  /** @type {Session | null} */
  session = null;
  /** @type {Map<string, Tile>} */
  tiles = new Map();
  /** Joins are numbered: what an earlier one still reports is not ours any more. */
  #attempt = 0;

  /** @param {HTMLElement} root */
  constructor(root) {
    const {roomCode = "", userName = "", socketPath = "/ws/signalling/"} = root.dataset;
    this.code = roomCode;
    this.userName = userName;
    this.url = sameOriginSocket(socketPath);
    this.screen = new Screen(root);
    this.#listen();
  }

  get room() {
    return this.session?.room ?? null;
  }

  /** @param {{audio: boolean, video: boolean}} wish */
  async join(wish) {
    const attempt = ++this.#attempt;
    this.screen.showJoining();
    const media = new Devices();
    const problems = await media.open(wish);
    if (attempt !== this.#attempt) return media.close();
    try {
      await this.#enter(media, attempt);
      for (const problem of problems) this.#warn(problem);
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

  /** @param {Devices} media @param {number} attempt */
  async #enter(media, attempt) {
    const client = new SignallingClient({url: this.url});
    const membership = new Membership(client);
    const room = new Room(client, media);
    this.session = {client, membership, media, room};
    this.#follow(this.session, attempt);
    await membership.join(this.code);
    if (attempt !== this.#attempt) return;
    this.screen.showCall(room.participants.size);
    this.#showOwn();
  }

  /** @param {Session} session @param {number} attempt */
  #follow({client, membership, media, room}, attempt) {
    /** @param {EventTarget} target @param {string} event @param {(detail: any) => void} handle */
    const on = (target, event, handle) =>
      target.addEventListener(event, (occurred) => {
        if (attempt === this.#attempt) handle(/** @type {CustomEvent} */ (occurred).detail);
      });
    for (const event of ["away", "back"]) on(membership, event, () => this.#tellConnections());
    on(room, "lost", () => this.#tellConnections());
    on(membership, "ended", (error) => this.#end(error));
    on(client, "room:closed", () => this.#end(new SignallingError({code: "room_closed"})));
    on(client, "error", (frame) => this.#complain(frame));
    on(room, "joined", (participant) => this.#addTile(participant));
    on(room, "changed", (participant) => this.tiles.get(participant.id)?.show(participant));
    on(room, "left", (participant) => this.#removeTile(participant));
    on(room, "failed", (error) => this.#warn(error));
    on(media, "track", () => this.#showOwn());
  }

  /** @param {unknown} error why the call is over */
  #end(error) {
    if (!(error instanceof SignallingError)) console.error(error);
    this.#hangUp();
    this.screen.showEnd(explain(error));
  }

  #hangUp() {
    this.#attempt += 1;
    this.session?.membership.close();
    this.session?.room.close();
    this.session?.media.close();
    this.session = null;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.screen.button("sound").hidden = true;
    this.screen.tellSignalling("");
  }

  /** What is away that the call needs, and comes back by itself. */
  #tellConnections() {
    const {membership, room} = this.session ?? {};
    this.screen.tellSignalling(membership?.state === "away" ? RECONNECTING : room?.switch.isLost ? SFU_LOST : "");
  }

  /** @param {Participant} participant */
  #addTile(participant) {
    const tile = new Tile(this.screen.tile, participant);
    this.tiles.set(participant.id, tile);
    this.screen.stage.append(tile.figure);
    this.screen.tell(`${participant.name} joined`);
  }

  /** @param {Participant} participant */
  #removeTile(participant) {
    this.tiles.get(participant.id)?.remove();
    this.tiles.delete(participant.id);
    this.screen.tell(`${participant.name} left`);
  }

  /** Our own tile, and the buttons that say the same. */
  #showOwn() {
    if (!this.session || this.screen.state !== "call") return;
    const {state: media, stream} = this.session.media;
    const own = {id: OWN, name: this.userName, media, state: /** @type {const} */ ("connected"), away: false, stream, path: null};
    const tile = this.tiles.get(OWN) ?? new Tile(this.screen.tile, own, {own: true});
    if (!this.tiles.has(OWN)) this.screen.stage.prepend(tile.figure);
    this.tiles.set(OWN, tile);
    tile.show(own);
    this.screen.button("mute").setAttribute("aria-pressed", String(!media.audio));
    this.screen.button("camera").setAttribute("aria-pressed", String(!media.video));
  }

  /** @param {string} action @param {(media: Devices) => Promise<void>} change */
  async #toggle(action, change) {
    const button = this.screen.button(action);
    if (!this.session || button.ariaBusy === "true") return; // the browser may be asking for permission
    button.ariaBusy = "true";
    this.screen.dismiss();
    try {
      await change(this.session.media);
    } catch (error) {
      this.#warn(error);
    } finally {
      button.ariaBusy = "false";
    }
  }

  async #copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      this.screen.tell("Link copied");
    } catch {
      this.screen.warn(`This browser does not let the page copy. The link is ${location.href}`);
    }
  }

  /** An error that answers no request. @param {import("../client/protocol.js").ErrorFrame} frame */
  #complain(frame) {
    // A candidate for somebody who has just left: peer:left tells it better.
    const isOfOneWhoLeft = frame.code === "peer_not_found";
    // The way to the SFU mends itself, and room:mode says what has become of it.
    const isOfTheSfu = frame.event === "sfu:restart" || isReserved(frame.targetPeerId ?? "") || frame.code === "sfu_unavailable";
    // About the connection as a whole: the close that follows tells it better.
    const isOfTheSocket = frame.code === "unavailable" && !frame.event && !frame.targetPeerId;
    if (!isOfOneWhoLeft && !isOfTheSocket && !isOfTheSfu) this.#warn(new SignallingError({...frame}));
  }

  /** @param {unknown} error that the call survives */
  #warn(error) {
    const {what, todo} = explain(error);
    this.screen.warn(`${what} ${todo}`);
  }

  #letSoundPlay() {
    this.screen.button("sound").hidden = true;
    for (const tile of this.tiles.values()) tile.play();
  }

  #listen() {
    const {screen} = this;
    screen.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.join(screen.wish);
    });
    /** @type {Record<string, () => void>} */
    const actions = {
      mute: () => this.#toggle("mute", (media) => media.setMicrophone(!media.state.audio)),
      camera: () => this.#toggle("camera", (media) => media.setCamera(!media.state.video)),
      copy: () => this.#copyLink(),
      leave: () => this.leave(),
      again: () => this.join(screen.wish),
      dismiss: () => screen.dismiss(),
      sound: () => this.#letSoundPlay(),
    };
    for (const [name, action] of Object.entries(actions)) screen.button(name).addEventListener("click", action);
    screen.root.addEventListener("soundrefused", () => (screen.button("sound").hidden = false));
    // A page that the browser keeps for "back" would come back with a dead call.
    addEventListener("pagehide", () => this.session && this.leave());
    screen.button("join").disabled = false; // until now a click would have sent the form to the server
  }
}

const root = document.querySelector("[data-call]");
if (root instanceof HTMLElement) Object.assign(root, {call: new Call(root)});
