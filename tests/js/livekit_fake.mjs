/** What livekit.js asks of livekit-client 2, with a diary. */
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
  static refuses = false;
  /** What has to come before a connection is there. */
  static gate = Promise.resolve();
  remoteParticipants = new Map(Room.present.map((id) => [id, {}]));
  diary = [];
  #listeners = new Map();

  constructor(options) {
    this.options = options;
    Room.last = this;
    this.localParticipant = {
      publishTrack: async (track, {source}) => this.diary.push(["publish", track, source]),
      unpublishTrack: async (track, stop) => this.diary.push(["unpublish", track, stop]),
    };
  }

  on(event, listener) {
    if (!event) throw new Error("no such event");
    this.#listeners.set(event, listener);
  }

  emit(event, ...args) {
    this.#listeners.get(RoomEvent[event])(...args);
  }

  async connect(...args) {
    this.diary.push(["connect", ...args]);
    await Room.gate;
    if (Room.refuses) throw new Error("refused");
    this.emit("ConnectionStateChanged", "connected");
  }

  async disconnect(stopTracks) {
    this.diary.push(["disconnect", stopTracks]);
  }
}

export class RemoteTrack {
  flows = false;

  constructor(kind, id) {
    Object.assign(this, {kind, mediaStreamTrack: {kind, id}});
  }

  async getRTCStatsReport() {
    const counters = this.flows ? {framesDecoded: 1, packetsReceived: 1} : {framesDecoded: 0, packetsReceived: 0};
    return new Map([["1", {type: "inbound-rtp", kind: this.kind, trackIdentifier: this.mediaStreamTrack.id, ...counters}]]);
  }
}
