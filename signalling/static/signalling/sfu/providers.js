/** The SFUs that this client can use. Each registers itself by its name in `sfu.provider`. */

/** @import {SfuAccess} from "../client/protocol.js" */
/** @import {CreateSession, SfuOptions, SfuSession} from "./types.js" */

/** @type {Map<string, CreateSession>} */
const providers = new Map();

/** @param {string} name @param {CreateSession} create */
export function registerProvider(name, create) {
  providers.set(name, create);
}

/**
 * @param {SfuAccess | undefined} access
 * @param {SfuOptions} options
 * @returns {SfuSession | null} null for an unknown provider; the room reports then that it cannot
 *   connect
 */
export function createSfu(access, options) {
  const create = providers.get(access?.provider ?? "");
  if (access && create) return create(access, options);
  console.warn("signalling: unknown SFU provider", access?.provider);
  return null;
}
