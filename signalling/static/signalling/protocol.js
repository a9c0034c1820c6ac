/**
 * The types of the wire (PROTOCOL.md), for the editor and for `tsc --checkJs`. Nothing here runs but one constant.
 *
 * @typedef {{audio?: boolean, video?: boolean, screen?: boolean}} MediaState what a peer says that it sends
 * @typedef {{username: string, displayName?: string} & Record<string, unknown>} UserInfo
 * @typedef {{id: string, userInfo: UserInfo, media?: MediaState | null, away?: boolean}} PeerEntry
 *
 * @typedef {object} RoomJoined
 * @property {string} roomId
 * @property {string} peerId our own id in this room
 * @property {PeerEntry[]} peers those who were there before us
 * @property {"p2p" | "sfu"} [mode]
 * @property {RTCIceServer[]} [iceServers]
 * @property {"host" | "member"} [role]
 * @property {{p2p: number, total: number}} [limits]
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
 *   "peer:updated": {peerId: string, media?: MediaState | null, displayName?: string},
 *   "webrtc:offer": {fromPeerId: string, offer: RTCSessionDescriptionInit},
 *   "webrtc:answer": {fromPeerId: string, answer: RTCSessionDescriptionInit},
 *   "webrtc:ice": {fromPeerId: string, candidate: WireCandidate},
 *   "room:mode": {mode: "p2p" | "sfu", reason?: string},
 *   "room:closed": {reason?: string},
 *   "ice:servers": {iceServers: RTCIceServer[]},
 *   "authenticated": {userInfo: UserInfo, expiresAt: string | null},
 *   "pong": Record<string, never>,
 *   "error": ErrorFrame & Record<string, unknown>,
 * }} ServerEvents
 */

export const SUBPROTOCOL = "signalling.v1";
