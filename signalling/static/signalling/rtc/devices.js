/**
 * Our own microphone and camera. Muting keeps the microphone and sends silence, so that unmuting is instant; camera
 * off lets go of the device, so that its light goes out.
 *
 * Events: "track" (detail: kind) when the track of a kind was taken, let go or unplugged.
 */

/** @typedef {"audio" | "video"} Kind */
/** @typedef {"insecure_origin" | "denied" | "missing" | "busy"} DeviceProblem the keys of messages.js */

/** @type {Record<string, DeviceProblem>} getUserMedia's errors: Devices Capture and Streams, section 10.2 */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied", // a Permissions-Policy or an iframe without allow="camera; microphone"
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
  #closed = false;

  get audio() {
    return this.stream.getAudioTracks()[0] ?? null;
  }

  get video() {
    return this.stream.getVideoTracks()[0] ?? null;
  }

  /** What we tell the others that we send. */
  get state() {
    return {audio: this.audio?.enabled ?? false, video: this.video !== null};
  }

  /**
   * Take the devices that are wished for. What cannot be had is left out: a call is possible without any.
   * @param {{audio: boolean, video: boolean}} wish
   * @returns {Promise<DeviceError[]>} one for each device that is missing
   */
  async open({audio, video}) {
    if (!audio || !video) return this.#openEach({audio, video});
    try {
      this.#take(await getUserMedia({audio, video})); // one question to the user, not two
      return [];
    } catch {
      return this.#openEach({audio, video}); // it fails as a whole even if only one device is missing
    }
  }

  /** @param {boolean} on */
  async setMicrophone(on) {
    if (on && !this.audio) await this.#openOne("audio");
    if (!this.audio) return;
    this.audio.enabled = on;
    this.#changed("audio");
  }

  /** @param {boolean} on */
  async setCamera(on) {
    if (on && !this.video) await this.#openOne("video");
    if (!on && this.video) this.#drop(this.video);
  }

  close() {
    this.#closed = true;
    for (const track of this.stream.getTracks()) this.#drop(track);
  }

  /** @param {{audio: boolean, video: boolean}} wish */
  async #openEach(wish) {
    const problems = [];
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      if (!wish[kind]) continue;
      try {
        await this.#openOne(kind);
      } catch (error) {
        problems.push(asDeviceError(error, kind));
      }
    }
    return problems;
  }

  /** @param {Kind} kind */
  async #openOne(kind) {
    try {
      this.#take(await getUserMedia({[kind]: true}));
    } catch (error) {
      throw asDeviceError(error, kind);
    }
  }

  /** @param {MediaStream} taken */
  #take(taken) {
    for (const track of taken.getTracks()) {
      if (this.#closed) track.stop(); // we hung up while the browser was asking
      else this.#add(track);
    }
  }

  /** @param {MediaStreamTrack} track */
  #add(track) {
    this.stream.addTrack(track);
    track.onended = () => this.#drop(track); // unplugged, or the permission was taken back
    this.#changed(/** @type {Kind} */ (track.kind));
  }

  /** @param {MediaStreamTrack} track */
  #drop(track) {
    track.onended = null;
    track.stop();
    this.stream.removeTrack(track);
    this.#changed(/** @type {Kind} */ (track.kind));
  }

  /** @param {Kind} kind */
  #changed(kind) {
    this.dispatchEvent(new CustomEvent("track", {detail: kind}));
  }
}

/** @param {MediaStreamConstraints} constraints @returns {Promise<MediaStream>} */
async function getUserMedia(constraints) {
  // Browsers hide mediaDevices from pages that came over plain http, localhost excepted.
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "InsecureOrigin");
  return navigator.mediaDevices.getUserMedia(constraints);
}

/** @param {unknown} error @param {Kind} kind */
function asDeviceError(error, kind) {
  if (error instanceof DeviceError) return error;
  const name = error instanceof DOMException ? error.name : "";
  const problem = name === "InsecureOrigin" ? "insecure_origin" : PROBLEMS[name];
  if (!problem) throw error; // not the user's fault and not the device's: a bug to be seen
  return new DeviceError(problem, kind, error);
}
