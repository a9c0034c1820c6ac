/**
 * The texts for every error that a user can see: what happened, and what to do. All user-visible
 * error texts are here.
 *
 * @typedef {"home" | "again" | "signin"} Action the button that is offered
 * @typedef {{title: string, advice: string, action: Action}} ErrorText
 */
import {DeviceError, SignallingError} from "../index.js";

/** @import {DeviceProblem} from "../index.js" */

/** @param {string} title @param {string} advice @param {Action} action @returns {ErrorText} */
const text = (title, advice, action = "again") => ({title, advice, action});

const CONTACT_OWNER = "Join again. If it keeps happening, contact the site’s owner.";

/**
 * The error codes of PROTOCOL.md. `{name}` is replaced with data from the error.
 * @type {Record<string, ErrorText>}
 */
export const ERRORS = {
  bad_json: text("Something is wrong with this page.", CONTACT_OWNER),
  bad_request: text("Something is wrong with this page.", CONTACT_OWNER),
  unknown_event: text("This page may be out of date.", "Reload it, then join again."),
  message_too_large: text("This page sent too much data at once.", CONTACT_OWNER),

  authentication_required: text("You are not signed in.", "Sign in, then join again.", "signin"),
  token_invalid: text("Your sign-in is not valid.", "Sign in again.", "signin"),
  token_expired: text("Your sign-in has expired.", "Sign in again.", "signin"),
  token_revoked: text("You have been signed out.", "Sign in again.", "signin"),
  user_inactive: text("Your account is disabled.", "Ask the site’s owner to enable it.", "home"),
  token_subject_mismatch: text("You are now signed in as a different user.", "Sign in again, then rejoin.", "signin"),

  room_not_found: text("There is no room with this code.", "Check the code, or create the room yourself.", "home"),
  room_full: text("This room is full ({limit} people).", "Join again when someone has left, or use another room."),
  too_many_devices: text("You are in this room on too many devices.", "Leave it on one of them, then join again."),
  room_locked: text("This room is locked.", "Ask the host to unlock it, then join again."),
  room_closed: text("This room has been closed.", "Use another room.", "home"),
  already_joined: text("You have already joined a room on this page.", "Reload the page, then join again."),
  not_in_room: text("You are no longer in this room.", "Join again."),
  evicted: text("This room is full, and the host needed your place.", "Join again when someone has left."),
  removed: text("You have been removed from this room.", "If you think this is a mistake, ask the host.", "home"),

  peer_not_found: text("Someone has just left the call.", "You don’t need to do anything."),
  peer_busy: text("Someone in the call has a slow connection.", "Wait a moment. If you can’t see them, join again."),
  forbidden: text("You are not allowed to do this.", "Ask the host of the room.", "home"),
  rate_limited: text("Too many requests.", "Wait {retryAfter} seconds, then try again."),
  resume_invalid: text("You could not be reconnected.", "Join again."),
  resume_expired: text("You were disconnected for too long.", "Join again."),
  sfu_unavailable: text("Large calls are not available right now.", "Try again in a minute."),
  unavailable: text("The server is temporarily unavailable.", "Try again in {retryAfter} seconds."),
  internal: text("Something went wrong on the server.", "Try again. If you report it, mention {reference}."),

  // Set by the client: the server did not answer at all.
  timeout: text("The server is not responding.", "Check your network, then join again."),
};

const CONNECTION_LOST = text("The connection was lost.", "Check your network, then join again.");

/**
 * The close codes of PROTOCOL.md, for closes without an error frame.
 * @type {Record<number, ErrorText>}
 */
export const CLOSES = {
  1000: text("The server has closed the connection.", "Join again."),
  1001: text("The server is shutting down.", "Join again in a minute."),
  1002: text("The server could not understand your browser.", CONTACT_OWNER),
  1006: CONNECTION_LOST,
  1007: text("Something is wrong with this page.", CONTACT_OWNER),
  1008: text("This page sent too many pings.", CONTACT_OWNER),
  1009: text("This page sent too much data at once.", CONTACT_OWNER),
  1012: text("The server is restarting.", "Join again in a minute."),
  4400: text("Something is wrong with this page.", CONTACT_OWNER),
  4401: text("Your sign-in is not valid.", "Sign in again.", "signin"),
  4403: text("You can’t join this room.", "If you think this is a mistake, ask the host.", "home"),
  4408: text("The connection was idle for too long.", "Join again."),
  4409: text("You have joined this call on another page.", "Continue there, or join again here."),
  4410: text("This room has been closed.", "Use another room.", "home"),
  4429: text("This page sent too many messages.", "Wait a minute, then join again."),
  4500: text("Something went wrong on the server.", "Join again."),
  4503: text("The server is restarting.", "Join again in a minute."),
  4508: text("Your connection is too slow for this call.", "Switch to a faster network, then join again."),
};

/** Shown while the signalling socket is reopened. The call continues. */
export const RECONNECTING = "Reconnecting…";

/** Shown while the SFU is unavailable. Connections through the mesh continue. */
export const SFU_LOST = "Media server unavailable. Reconnecting…";

/** Why a microphone or camera cannot be used. @type {Record<DeviceProblem, ErrorText>} */
export const DEVICES = {
  insecure_origin: text(
    "The {device} needs a secure page.",
    "Open this page with https, or on this computer as http://localhost.",
  ),
  denied: text("This page may not use the {device}.", "Allow it in the browser’s address bar, then turn it on here."),
  missing: text("No {device} was found.", "Plug one in, then turn it on here."),
  busy: text("The {device} cannot be used.", "Close other programs that use it, then turn it on here."),
};

const DEVICE_NAMES = {audio: "microphone", video: "camera"};

const BUG = text("Something went wrong on this page.", "Reload it. If it keeps happening, contact the site’s owner.");

/** @param {unknown} error @returns {ErrorText} */
export function explain(error) {
  if (error instanceof DeviceError) return fill(DEVICES[error.problem], {device: DEVICE_NAMES[error.kind]});
  if (!(error instanceof SignallingError)) return BUG;
  const {code, closeCode, retryAfter = 10, details} = error;
  const found = ERRORS[code] ?? CLOSES[closeCode ?? 0] ?? CONNECTION_LOST;
  return fill(found, {reference: "the time", limit: "all", ...details, retryAfter: Math.ceil(retryAfter)});
}

/** @param {ErrorText} template @param {Record<string, unknown>} values @returns {ErrorText} */
function fill({title, advice, action}, values) {
  const insert = (/** @type {string} */ part) => part.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  return {title: insert(title), advice: insert(advice), action};
}
