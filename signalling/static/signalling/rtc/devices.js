/**
 * The user's microphone and camera. Muting keeps the microphone open and sends silence, so that
 * unmuting is instant; turning the camera off releases it, so that its light goes out.
 *
 * Events: "track" (detail: kind) when the track of a kind was added, stopped or unplugged.
 */

/** @import {Kind} from "./senders.js" */
/** @typedef {"insecure_origin" | "denied" | "missing" | "busy"} DeviceProblem */
/** @typedef {{audio: boolean, video: boolean}} Wanted which devices to open */

/**
 * The errors of getUserMedia: Media Capture and Streams, section 10.2.
 * @type {Record<string, DeviceProblem>}
 */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied", // a Permissions-Policy, or an iframe without allow="camera; microphone"
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class DeviceError extends Error {
  /** @param {DeviceProblem} problem @param {Kind} kind @param {unknown} [cause] */
  constructor(problem, kind, cause) {
    super(`${kind}: ${problem}`, {cause});
    this.name = "DeviceError";
    this.problem = problem;
    this.kind = kind;
  }
}

export class Devices extends EventTarget {
  stream = new MediaStream();
  #isClosed = false;

  get audio() {
    return this.stream.getAudioTracks()[0] ?? null;
  }

  get video() {
    return this.stream.getVideoTracks()[0] ?? null;
  }

  /** What we report to the other peers that we send. */
  get state() {
    return {audio: this.audio?.enabled ?? false, video: this.video !== null};
  }

  /**
   * Open the wanted devices. Those that cannot be opened are left out: a call is possible without
   * any.
   * @param {Wanted} wanted
   * @returns {Promise<DeviceError[]>} an error for each device that could not be opened
   */
  async open({audio, video}) {
    if (!audio || !video) return this.#openEach({audio, video});
    try {
      this.#addTracks(await getUserMedia({audio, video})); // one permission prompt, not two
      return [];
    } catch {
      return this.#openEach({audio, video}); // the request fails even if only one device is missing
    }
  }

  /** @param {boolean} on */
  async setMicrophone(on) {
    if (on && !this.audio) await this.#openOne("audio");
    if (!this.audio) return;
    this.audio.enabled = on;
    this.#dispatch("audio");
  }

  /** @param {boolean} on */
  async setCamera(on) {
    if (on && !this.video) await this.#openOne("video");
    if (!on && this.video) this.#stop(this.video);
  }

  close() {
    this.#isClosed = true;
    for (const track of this.stream.getTracks()) this.#stop(track);
  }

  /** @param {Wanted} wanted */
  async #openEach(wanted) {
    const errors = [];
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      if (!wanted[kind]) continue;
      try {
        await this.#openOne(kind);
      } catch (error) {
        errors.push(asDeviceError(error, kind));
      }
    }
    return errors;
  }

  /** @param {Kind} kind */
  async #openOne(kind) {
    try {
      this.#addTracks(await getUserMedia({[kind]: true}));
    } catch (error) {
      throw asDeviceError(error, kind);
    }
  }

  /** @param {MediaStream} opened */
  #addTracks(opened) {
    for (const track of opened.getTracks()) {
      if (this.#isClosed) track.stop(); // the call ended while the browser was asking for permission
      else this.#add(track);
    }
  }

  /** @param {MediaStreamTrack} track */
  #add(track) {
    this.stream.addTrack(track);
    track.onended = () => this.#stop(track); // unplugged, or the permission was revoked
    this.#dispatch(/** @type {Kind} */ (track.kind));
  }

  /** @param {MediaStreamTrack} track */
  #stop(track) {
    track.onended = null;
    track.stop();
    this.stream.removeTrack(track);
    this.#dispatch(/** @type {Kind} */ (track.kind));
  }

  /** @param {Kind} kind */
  #dispatch(kind) {
    this.dispatchEvent(new CustomEvent("track", {detail: kind}));
  }
}

/** @param {MediaStreamConstraints} constraints @returns {Promise<MediaStream>} */
async function getUserMedia(constraints) {
  // Browsers hide mediaDevices from pages served over plain http, except from localhost.
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "InsecureOrigin");
  return navigator.mediaDevices.getUserMedia(constraints);
}

/** @param {unknown} error @param {Kind} kind */
function asDeviceError(error, kind) {
  if (error instanceof DeviceError) return error;
  const name = error instanceof DOMException ? error.name : "";
  const problem = name === "InsecureOrigin" ? "insecure_origin" : PROBLEMS[name];
  if (!problem) throw error; // neither the user nor the device is the cause: a bug
  return new DeviceError(problem, kind, error);
}
