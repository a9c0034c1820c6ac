/**
 * The reserved peer ids through which clients reach an SFU behind the server (PROTOCOL.md, "SFU
 * mode").
 */

export const PUBLISH = "sfu:publish";
export const SUBSCRIBE = "sfu:subscribe";

/** Return whether an id belongs to an SFU and not to a peer. @param {string} id */
export const isReservedId = (id) => id.startsWith("sfu:");
