/**
 * What a room expects of the client side of an SFU.
 *
 * @import {MediaState, SfuAccess} from "../client/protocol.js"
 * @import {PeerState} from "../rtc/ice.js"
 * @import {Kind, LocalMedia} from "../rtc/senders.js"
 *
 * @typedef {(targetPeerId: string, event: string, data: object) => void} Send
 *
 * @typedef {object} SfuOptions
 * @property {RTCIceServer[]} iceServers
 * @property {LocalMedia} media
 * @property {Send} send
 * @property {() => void} restart asks the SFU to restart ICE on the connection that it offers
 * @property {(peerId: string) => MediaState | undefined} mediaOf what a peer reports that it sends
 *
 * @typedef {object} SfuMembers
 * @property {ReadonlyMap<string, MediaStream>} streams what to show, by peer id
 * @property {ReadonlySet<string>} arrived the ids of the peers whose media has arrived
 * @property {PeerState} publishing
 * @property {PeerState} receiving
 * @property {boolean} isHealthy whether everything is connected that should be
 * @property {boolean} hasFailed whether it does not recover by itself
 * @property {RTCPeerConnection[]} connections for tests and for debugging
 * @property {() => void} start
 * @property {(event: string, data: any) => Promise<void> | undefined} receive handles a message
 *   from a reserved id
 * @property {(kind: Kind) => Promise<void>} replaceTrack
 * @property {(iceServers: RTCIceServer[]) => void} setIceServers
 * @property {(gap: boolean) => void} recover signalling is available again; with a `gap`, messages
 *   sent to us may be lost
 * @property {() => void} close
 *
 * Events: "stream" (detail: {peerId, stream}; null when it is gone), "arrived" (detail: peer id)
 * with the first media from a peer, "state" when `publishing` or `receiving` changes.
 * @typedef {EventTarget & SfuMembers} SfuSession
 *
 * @typedef {(access: SfuAccess, options: SfuOptions) => SfuSession} CreateSession
 */
export {};
