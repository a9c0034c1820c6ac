/**
 * Types that several modules share.
 *
 * @typedef {"mesh" | "sfu"} Path
 *
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name
 * @property {import("../client/protocol.js").MediaState} media what they say that they send; a seed-style client says nothing
 * @property {import("../rtc/ice.js").PeerState} state
 * @property {boolean} away whether they have lost their signalling and are expected back; their media may go on
 * @property {Path} path where `stream` comes from
 * @property {MediaStream} stream
 * @property {boolean} isOlder whether they were here before us: then we are the one that offers, and polite
 * @property {boolean} reported whether they have said that they receive everybody from the SFU
 */
export {};
