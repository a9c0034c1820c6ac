/** The SFUs that we can be sent to. Each is the class that sfu.js describes. */
import {LiveKit} from "./livekit.js";
import {Sfu} from "./proxied.js";

/** @typedef {Sfu | LiveKit} AnySfu */

/**
 * @param {import("../client/protocol.js").SfuAccess | undefined} access
 * @param {import("./proxied.js").SfuOptions} options
 * @returns {AnySfu | null} null where we do not know how; then the room hears that we cannot
 */
export function createSfu(access, options) {
  if (access?.provider === "proxied" || access?.provider === "janus") return new Sfu(options);
  if (access?.provider === "livekit") return new LiveKit(access, options);
  console.warn("signalling: this page does not know the SFU", access?.provider);
  return null;
}
