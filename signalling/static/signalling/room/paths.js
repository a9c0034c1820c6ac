/**
 * Chooses which of two paths a peer is shown from: always the better one. No peer is shown
 * twice, and no peer with media on either path disappears.
 */

/** @import {Mode} from "../client/protocol.js" */
/** @import {PeerState} from "../rtc/ice.js" */
/** @import {Path} from "./types.js" */

/**
 * @typedef {object} MeshSource
 * @property {PeerState} state
 * @property {MediaStream} stream
 *
 * @typedef {object} SfuSource
 * @property {PeerState} receiving
 * @property {ReadonlyMap<string, MediaStream>} streams
 * @property {ReadonlySet<string>} arrived
 */

/** The ranks of a path. Between equal ranks, the mode of the room decides. */
const NONE = -1;
const FAILED = 0;
const PENDING = 1;
const INTERRUPTED = 2;
const LIVE = 3;

/** What users see of a path through the SFU. @type {Record<number, PeerState>} */
const STATES = {
  [NONE]: "connecting",
  [FAILED]: "failed",
  [PENDING]: "connecting",
  [INTERRUPTED]: "reconnecting",
  [LIVE]: "connected",
};

/**
 * @param {object} options
 * @param {Mode} options.mode
 * @param {string} options.id
 * @param {MeshSource} [options.peer] the mesh connection with the peer
 * @param {boolean} options.hasArrived whether media has arrived on that connection
 * @param {SfuSource | null} options.sfu
 * @returns {{path: Path, state: PeerState, stream: MediaStream | undefined}}
 */
export function choosePath({mode, id, peer, hasArrived, sfu}) {
  const meshRank = peer ? rank(peer.state, hasArrived) : NONE;
  const sfuRank = rankOfSfu(sfu, id);
  const isMesh = meshRank === sfuRank ? mode === "p2p" : meshRank > sfuRank;
  if (isMesh) return {path: "mesh", state: peer?.state ?? "connecting", stream: peer?.stream};
  return {path: "sfu", state: STATES[sfuRank] ?? "connecting", stream: sfu?.streams.get(id)};
}

/**
 * Return whether a peer's media is live on the SFU.
 * @param {SfuSource | null} sfu
 * @param {string} id
 */
export function isLiveOnSfu(sfu, id) {
  return rankOfSfu(sfu, id) === LIVE;
}

/** @param {SfuSource | null} sfu @param {string} id */
function rankOfSfu(sfu, id) {
  return sfu?.streams.has(id) ? rank(sfu.receiving, sfu.arrived.has(id)) : NONE;
}

/** @param {PeerState} state @param {boolean} hasArrived */
function rank(state, hasArrived) {
  if (state === "failed" || state === "closed") return FAILED;
  if (!hasArrived) return PENDING;
  return state === "connected" ? LIVE : INTERRUPTED;
}
