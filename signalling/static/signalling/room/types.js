/**
 * Types that several modules share.
 *
 * @import {MediaState} from "../client/protocol.js"
 * @import {PeerState} from "../rtc/ice.js"
 *
 * @typedef {"mesh" | "sfu"} Path
 *
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name the label: the display name, or the user name, or both
 * @property {string} username which user of the site this is
 * @property {string} displayName the name that the peer chose; empty if none
 * @property {string[] | null} nameKeys names that look alike share a key
 * @property {MediaState} media what they report that they send; empty for clients that report
 *   nothing
 * @property {PeerState} state
 * @property {boolean} away whether they have lost their signalling socket; their media may keep
 *   flowing
 * @property {Path} path where `stream` comes from
 * @property {MediaStream} stream
 * @property {boolean} isOlder whether they joined before us: then we send the first offer and are
 *   polite
 * @property {boolean} receivesFromSfu whether they have reported that they receive everyone from
 *   the SFU
 */
export {};
