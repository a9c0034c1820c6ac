/** The parts of livekit-client 2 that livekit.js uses; it records calls. */
export const RoomEvent = {
  TrackSubscribed: "trackSubscribed",
  TrackUnsubscribed: "trackUnsubscribed",
  ParticipantConnected: "participantConnected",
  ParticipantDisconnected: "participantDisconnected",
  ConnectionStateChanged: "connectionStateChanged",
};

export const Track = {Source: {Camera: "camera", Microphone: "microphone"}};

export class Room {
  static last;
  static present = [];
  static isRefusing = false;
  /** Delays connections until it resolves. */
  static gate = Promise.resolve();
  remoteParticipants = new Map(Room.present.map((id) => [id, {}]));
  calls = [];
  #listeners = new Map();

  constructor(options) {
    this.options = options;
    Room.last = this;
    this.localParticipant = {
      publishTrack: async (track, {source}) => this.calls.push(["publish", track, source]),
      unpublishTrack: async (track, stop) => this.calls.push(["unpublish", track, stop]),
    };
  }

  on(event, listener) {
    if (!event) throw new Error("unknown event");
    this.#listeners.set(event, listener);
  }

  emit(event, ...args) {
    this.#listeners.get(RoomEvent[event])(...args);
  }

  async connect(...args) {
    this.calls.push(["connect", ...args]);
    await Room.gate;
    if (Room.isRefusing) throw new Error("refused");
    this.emit("ConnectionStateChanged", "connected");
  }

  async disconnect(stopTracks) {
    this.calls.push(["disconnect", stopTracks]);
  }
}

export class RemoteTrack {
  isActive = false;

  constructor(kind, id) {
    Object.assign(this, {kind, mediaStreamTrack: {kind, id}});
  }

  async getRTCStatsReport() {
    const counters = this.isActive ? {framesDecoded: 1, packetsReceived: 1} : {framesDecoded: 0, packetsReceived: 0};
    return new Map([["1", {type: "inbound-rtp", kind: this.kind, trackIdentifier: this.mediaStreamTrack.id, ...counters}]]);
  }
}
