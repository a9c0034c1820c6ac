/**
 * From where somebody is shown: one of two paths, and always the better one, so that nobody is shown twice and nobody
 * disappears who has media on either.
 *
 * @typedef {import("./types.js").Path} Path
 * @typedef {import("../rtc/ice.js").PeerState} PeerState
 * @typedef {{receiving: PeerState, streams: ReadonlyMap<string, MediaStream>, arrived: ReadonlySet<string>}} Source
 */

/** How much a path is worth. Only at the same worth the mode of the room decides. */
const NONE = -1;
const DEAD = 0;
const PENDING = 1;
const SHAKY = 2;
const LIVE = 3;

/** @type {Record<number, PeerState>} what a path through the SFU is to a user */
const STATES = {[NONE]: "connecting", [DEAD]: "failed", [PENDING]: "connecting", [SHAKY]: "reconnecting", [LIVE]: "connected"};

/**
 * @param {object} of
 * @param {import("../client/protocol.js").Mode} of.mode
 * @param {string} of.id
 * @param {import("../mesh/peer.js").Peer} [of.peer] the mesh connection with them
 * @param {boolean} of.hasArrived whether their media was seen there
 * @param {Source | null} of.sfu
 * @returns {{path: Path, state: PeerState, stream: MediaStream | undefined}}
 */
export function choose({mode, id, peer, hasArrived, sfu}) {
  const mesh = peer ? worth(peer.state, hasArrived) : NONE;
  const server = worthOfSfu(sfu, id);
  const isMesh = mesh === server ? mode === "p2p" : mesh > server;
  if (isMesh) return {path: "mesh", state: peer?.state ?? "connecting", stream: peer?.stream};
  return {path: "sfu", state: STATES[server] ?? "connecting", stream: sfu?.streams.get(id)};
}

/** Whether somebody's media comes from the SFU, as far as one can see. @param {Source | null} sfu @param {string} id */
export function carries(sfu, id) {
  return worthOfSfu(sfu, id) === LIVE;
}

/** @param {Source | null} sfu @param {string} id */
function worthOfSfu(sfu, id) {
  return sfu?.streams.has(id) ? worth(sfu.receiving, sfu.arrived.has(id)) : NONE;
}

/** @param {PeerState} state @param {boolean} hasArrived */
function worth(state, hasArrived) {
  if (state === "failed" || state === "closed") return DEAD;
  if (!hasArrived) return PENDING;
  return state === "connected" ? LIVE : SHAKY;
}
