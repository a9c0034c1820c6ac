/**
 * The public API of the library. Import everything from here; the other modules may move between releases.
 *
 *     import {Devices, Membership, Room, SignallingClient, sameOriginSocket} from "./index.js";
 *
 * `SignallingClient` needs neither the DOM nor WebRTC, `Membership` keeps a place in a room across lost sockets, and
 * `Room` adds the media. The pages in `page/` are built on this API alone.
 *
 * @typedef {import("./client/protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./client/protocol.js").MediaState} MediaState
 * @typedef {import("./client/protocol.js").RoomJoined} RoomJoined
 * @typedef {import("./client/protocol.js").ServerEvents} ServerEvents
 * @typedef {import("./room/types.js").Participant} Participant
 * @typedef {import("./room/types.js").Path} Path
 * @typedef {import("./rtc/devices.js").DeviceProblem} DeviceProblem
 * @typedef {import("./rtc/ice.js").PeerState} PeerState
 */
export {SignallingClient, sameOriginSocket} from "./client/client.js";
export {SignallingError} from "./client/errors.js";
export {Membership} from "./client/membership.js";
export {DeviceError, Devices} from "./rtc/devices.js";
export {Room} from "./room/room.js";
export {isReserved} from "./sfu/connection.js";
