/**
 * The public API of the library: the only module that a site should load from. Other modules may
 * move between releases.
 *
 * - SignallingClient: one socket, requests and events. Needs neither the DOM nor WebRTC.
 * - Membership: joins a room and resumes the membership after the socket is lost.
 * - Devices: the user's microphone and camera.
 * - Room: the participants and their media, through a mesh or an SFU.
 *
 * page/call.js shows how they work together.
 *
 * @typedef {import("./client/protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./client/protocol.js").MediaState} MediaState
 * @typedef {import("./client/protocol.js").RoomJoined} RoomJoined
 * @typedef {import("./client/protocol.js").ServerEvents} ServerEvents
 * @typedef {import("./room/types.js").Participant} Participant
 * @typedef {import("./room/types.js").Path} Path
 * @typedef {import("./rtc/devices.js").DeviceProblem} DeviceProblem
 * @typedef {import("./rtc/devices.js").Wanted} WantedDevices
 * @typedef {import("./rtc/ice.js").PeerState} PeerState
 */
export {SignallingClient, sameOriginSocket} from "./client/client.js";
export {SignallingError} from "./client/errors.js";
export {Membership} from "./client/membership.js";
export {DeviceError, Devices} from "./rtc/devices.js";
export {Room} from "./room/room.js";
export {isReservedId} from "./sfu/addresses.js";
export {registerProvider} from "./sfu/providers.js";
// Both register themselves as SFU providers.
export {LiveKitSfu} from "./sfu/livekit.js";
export {ProxiedSfu} from "./sfu/proxied.js";
