/** What stands in for a browser and for the server in these tests. */

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

  say(event, data, id) {
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

/** What peer.js asks of an RTCPeerConnection, with a diary. Real connections are tried in tests/browser. */
export class FakeConnection {
  signalingState = "stable";
  iceConnectionState = "new";
  localDescription = null;
  remoteDescription = null;
  restarts = 0;
  diary = [];
  transceivers = [];

  constructor() {
    FakeConnection.last = this;
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
    await new Promise(setImmediate); // as in a browser, candidates may come in the meantime
    this.diary.push(description.type);
    this.remoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
  }

  async addIceCandidate(init) {
    this.diary.push(init);
    if (init.candidate === "broken") throw new Error("OperationError");
  }

  restartIce() {
    this.restarts += 1;
  }

  becomes(state) {
    this.iceConnectionState = state;
    this.oniceconnectionstatechange();
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

  /** As in a browser, parameters that were read before another change are refused. */
  async setParameters({encodings, read}) {
    if (read !== this.settings.length) throw new DOMException("stale", "InvalidStateError");
    this.settings.push(encodings[0]?.maxBitrate ?? null);
    await new Promise(setImmediate);
    this.encodings = encodings;
  }
}

/** When all that is ready to go on has gone on: no timer is waited for. */
export function settled() {
  return new Promise(setImmediate);
}
