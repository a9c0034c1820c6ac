/**
 * The types of the wire (PROTOCOL.md), for the editor and for `tsc --checkJs`. Nothing here runs but one constant.
 *
 * @typedef {{audio?: boolean, video?: boolean, screen?: boolean}} MediaState what a peer says that it sends
 * @typedef {{username: string, displayName?: string} & Record<string, unknown>} UserInfo
 * @typedef {{id: string, userInfo: UserInfo, media?: MediaState | null, away?: boolean,
 *   path?: "sfu"}} PeerEntry `path`: they have said that they receive everybody from the SFU
 *
 * @typedef {"p2p" | "sfu"} Mode
 * @typedef {{provider: string, url?: string, token?: string, client?: string}} SfuAccess the way to the SFU; url, token
 *   and client where the provider is "livekit"
 * @typedef {{mid: string, peerId: string, kind: "audio" | "video"}} SfuStream whose a media section is
 * @typedef {{mode: Mode, version?: number, switching?: boolean, until?: string, reason?: string, sfu?: SfuAccess}} RoomMode
 *
 * @typedef {object} RoomJoined
 * @property {string} roomId
 * @property {string} peerId our own id in this room
 * @property {PeerEntry[]} peers those who were there before us
 * @property {Mode} [mode]
 * @property {number} [modeVersion]
 * @property {boolean} [switching] the mesh is kept until the SFU carries everybody
 * @property {SfuAccess} [sfu]
 * @property {RTCIceServer[]} [iceServers]
 * @property {"host" | "member"} [role]
 * @property {{p2p: number, total: number, meshKbps?: number[]}} [limits] `meshKbps`: what to send to each other one of
 *   a mesh of 2, of 3, …
 * @property {boolean} [resumed] this is the place that we had before, with the same peer id
 * @property {string} [resumeToken] gives the place back once, if the socket is lost
 * @property {number} [resumeWindow] for how many seconds
 * @property {boolean} [gap] something that was sent to us while we were away may be lost
 *
 * @typedef {object} ErrorFrame
 * @property {string} code stable, see PROTOCOL.md
 * @property {string} message for developers; what users read is in messages.js
 * @property {string} [event] the event that was refused
 * @property {string} [targetPeerId] whom it was for
 * @property {number} [retryAfter] seconds
 *
 * @typedef {RTCIceCandidateInit | string | null} WireCandidate a seed-style client may send the bare line
 *
 * What the server sends, by event.
 * @typedef {{
 *   "room:joined": RoomJoined,
 *   "peer:joined": {peerId: string, userInfo: UserInfo, media?: MediaState | null},
 *   "peer:left": {peerId: string, reason?: string},
 *   "peer:away": {peerId: string, until: string},
 *   "peer:back": {peerId: string},
 *   "peer:updated": {peerId: string, media?: MediaState | null, displayName?: string, path?: "sfu"},
 *   "webrtc:offer": {fromPeerId: string, offer: RTCSessionDescriptionInit, streams?: SfuStream[], connection?: number},
 *   "webrtc:answer": {fromPeerId: string, answer: RTCSessionDescriptionInit},
 *   "webrtc:ice": {fromPeerId: string, candidate: WireCandidate},
 *   "room:mode": RoomMode,
 *   "sfu:reset": {sfu: SfuAccess},
 *   "room:closed": {reason?: string},
 *   "ice:servers": {iceServers: RTCIceServer[]},
 *   "authenticated": {userInfo: UserInfo, expiresAt: string | null},
 *   "pong": Record<string, never>,
 *   "error": ErrorFrame & Record<string, unknown>,
 * }} ServerEvents
 */

export const SUBPROTOCOL = "signalling.v1";
