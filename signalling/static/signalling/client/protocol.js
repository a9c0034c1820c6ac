/**
 * The types of the protocol (PROTOCOL.md), for editors and for `tsc --checkJs`. Only one constant
 * exists at run time.
 *
 * @typedef {{audio?: boolean, video?: boolean, screen?: boolean}} MediaState what a peer reports
 *   that it sends
 * @typedef {{username: string, displayName?: string} & Record<string, unknown>} UserInfo
 * @typedef {{id: string, userInfo: UserInfo, nameKeys?: string[], media?: MediaState | null,
 *   away?: boolean, path?: "sfu"}} PeerEntry `path` is set once the peer has reported that it
 *   receives everyone's media from the SFU
 *
 * @typedef {"p2p" | "sfu"} Mode
 * @typedef {{provider: string, url?: string, token?: string, client?: string}} SfuAccess how to
 *   reach the SFU; url, token and client are set if the provider is "livekit"
 * @typedef {{mid: string, peerId: string, kind: "audio" | "video"}} SfuStream the peer that a media
 *   section belongs to
 * @typedef {{mode: Mode, version?: number, switching?: boolean, until?: string,
 *   seconds?: number, reason?: string, sfu?: SfuAccess}} RoomMode
 *
 * @typedef {object} RoomJoined
 * @property {string} roomId
 * @property {string} peerId our own id in this room
 * @property {PeerEntry[]} peers the peers that joined before us
 * @property {UserInfo} [userInfo] our own, as the others receive it
 * @property {string[]} [nameKeys] of our own names; names that look alike share a key
 * @property {Mode} [mode]
 * @property {number} [modeVersion]
 * @property {boolean} [switching] keep the mesh until the switch to the SFU is committed
 * @property {SfuAccess} [sfu]
 * @property {RTCIceServer[]} [iceServers]
 * @property {"host" | "member"} [role]
 * @property {{p2p: number, total: number, meshKbps?: number[]}} [limits] `meshKbps`: how much video
 *   to send to each other peer in a mesh of 2, of 3, …
 * @property {boolean} [resumed] the membership was resumed, with the same peer id
 * @property {string} [resumeToken] resumes the membership once, after the socket is lost
 * @property {number} [resumeWindow] how many seconds the membership can be resumed for
 * @property {boolean} [gap] messages sent to us while we were disconnected may be lost
 *
 * @typedef {object} ErrorFrame
 * @property {string} code stable, see PROTOCOL.md
 * @property {string} message for developers; page/error-texts.js has the texts for users
 * @property {string} [event] the event that was refused
 * @property {string} [targetPeerId] the peer that the refused event was addressed to
 * @property {number} [retryAfter] seconds
 *
 * @typedef {RTCIceCandidateInit | string | null} WireCandidate simple clients may send the bare
 *   candidate line
 *
 * What the server sends, by event.
 * @typedef {{
 *   "room:joined": RoomJoined,
 *   "peer:joined": {peerId: string, userInfo: UserInfo, nameKeys?: string[],
 *     media?: MediaState | null},
 *   "peer:left": {peerId: string, reason?: string},
 *   "peer:away": {peerId: string, until: string, seconds: number},
 *   "peer:back": {peerId: string},
 *   "peer:updated": {peerId: string, media?: MediaState | null, displayName?: string,
 *     nameKeys?: string[], path?: "sfu"},
 *   "webrtc:offer": {fromPeerId: string, offer: RTCSessionDescriptionInit, streams?: SfuStream[],
 *     connection?: number},
 *   "webrtc:answer": {fromPeerId: string, answer: RTCSessionDescriptionInit},
 *   "webrtc:ice": {fromPeerId: string, candidate: WireCandidate},
 *   "room:mode": RoomMode,
 *   "sfu:reset": {sfu: SfuAccess},
 *   "room:closed": {reason?: string},
 *   "ice:servers": {iceServers: RTCIceServer[]},
 *   "authenticated": {userInfo: UserInfo, expiresAt: string | null},
 *   "token:expiring": {expiresAt: string},
 *   "pong": Record<string, never>,
 *   "error": ErrorFrame & Record<string, unknown>,
 * }} ServerEvents
 */

export const SUBPROTOCOL = "signalling.v1";
