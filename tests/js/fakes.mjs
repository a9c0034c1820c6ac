/** Fakes for the browser and the server. */

/** A socket whose other end is the test. */
export class FakeSocket {
  static all = [];
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, {url, protocols});
    FakeSocket.all.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  deliver(event, data, id) {
    this.onmessage({data: JSON.stringify({event, data, id})});
  }

  close(code = 1000) {
    this.readyState = 2;
    this.closedWith = code;
  }

  end(code) {
    this.readyState = 3;
    this.onclose({code});
  }
}

/** The parts of RTCPeerConnection that the modules use; it records calls. tests/browser uses real ones. */
export class FakeConnection {
  static all = [];
  signalingState = "stable";
  iceConnectionState = "new";
  connectionState = "new";
  localDescription = null;
  remoteDescription = null;
  restarts = 0;
  calls = [];
  transceivers = [];
  /** The ids of the tracks whose media has arrived. */
  active = new Set();

  constructor(configuration) {
    this.configuration = configuration;
    FakeConnection.last = this;
    FakeConnection.all.push(this);
  }

  addTransceiver(kind, init) {
    const transceiver = {mid: null, receiver: {track: {kind}}, sender: new FakeSender(), ...init};
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  async setLocalDescription() {
    const type = this.signalingState === "have-remote-offer" ? "answer" : "offer";
    this.localDescription = {type, sdp: "ours", toJSON: () => ({type, sdp: "ours"})};
    this.signalingState = type === "offer" ? "have-local-offer" : "stable";
  }

  async setRemoteDescription(description) {
    await new Promise(setImmediate); // as in a browser: candidates may arrive before this completes
    this.calls.push(description.type);
    if (description.sdp === "broken") throw new DOMException("cannot be read", "OperationError");
    this.remoteDescription = description;
    for (const [, kind, mid] of description.sdp.matchAll(/m=(\w+)[^]*?a=mid:(\S+)/g)) this.#addOffered(kind, mid);
    this.signalingState = {offer: "have-remote-offer", pranswer: "have-remote-pranswer", answer: "stable"}[description.type];
  }

  /** Add a media section of the other side. Its track exists before any media arrives. */
  #addOffered(kind, mid) {
    if (this.transceivers.some((known) => known.mid === mid)) return;
    this.transceivers.push({mid, receiver: {track: {kind, id: `${mid}@${FakeConnection.all.indexOf(this)}`}}, sender: new FakeSender()});
  }

  /** Let media arrive. @param {string} mid of its media section */
  receiveMedia(mid) {
    this.active.add(this.transceivers.find((known) => known.mid === mid).receiver.track.id);
  }

  async getStats() {
    const inbound = (id) => ({type: "inbound-rtp", kind: "video", framesDecoded: 1, packetsReceived: 1, trackIdentifier: id});
    return new Map([...this.active].map((id) => [id, inbound(id)]));
  }

  async addIceCandidate(init) {
    this.calls.push(init);
    if (init.candidate === "broken") throw new Error("OperationError");
  }

  restartIce() {
    this.restarts += 1;
  }

  setState(state) {
    this.iceConnectionState = this.connectionState = state;
    this.oniceconnectionstatechange?.();
    this.onconnectionstatechange?.();
  }

  getConfiguration() {
    return {};
  }

  setConfiguration() {}

  close() {
    this.closed = true;
  }
}

export class FakeSender {
  encodings = [{}];
  settings = [];

  setStreams() {}

  async replaceTrack(track) {
    this.track = track;
  }

  getParameters() {
    return {encodings: structuredClone(this.encodings), read: this.settings.length};
  }

  /** As in a browser, refuse parameters that were read before another change. */
  async setParameters({encodings, read}) {
    if (read !== this.settings.length) throw new DOMException("stale", "InvalidStateError");
    this.settings.push(encodings[0]?.maxBitrate ?? null);
    await new Promise(setImmediate);
    this.encodings = encodings;
  }
}

/** The parts of MediaStream that the modules use. */
export class FakeStream {
  tracks = [];

  getTracks() {
    return [...this.tracks];
  }

  getVideoTracks() {
    return this.tracks.filter(({kind}) => kind === "video");
  }

  addTrack(track) {
    if (!this.tracks.includes(track)) this.tracks.push(track);
  }

  removeTrack(track) {
    this.tracks = this.tracks.filter((other) => other !== track);
  }
}

/** Return a description with these media sections; mids of audio begin with "a". */
export function sdpOf(...mids) {
  return mids.map((mid) => `m=${mid.startsWith("a") ? "audio" : "video"} 9\r\na=mid:${mid}\r\n`).join("");
}

/** Wait until every promise that can settle has settled. Timers do not fire. */
export function flush() {
  return new Promise(setImmediate);
}
