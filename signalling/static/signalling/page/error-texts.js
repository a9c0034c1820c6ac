/**
 * Every error that a user can meet: what happened, and what to do about it. The one home of these words.
 *
 * @typedef {"home" | "again" | "signin"} Way the way on that is offered
 * @typedef {{what: string, todo: string, way: Way}} Message
 */
import {SignallingError} from "../client/client.js";
import {DeviceError} from "../rtc/devices.js";

/** @param {string} what @param {string} todo @param {Way} way @returns {Message} */
const say = (what, todo, way = "again") => ({what, todo, way});

const OUR_FAULT = "This is a fault of ours, not yours. Join again; if it happens again, tell the site’s owner.";

/** The error codes of PROTOCOL.md. `{name}` is filled in from the error's own data. @type {Record<string, Message>} */
export const ERRORS = {
  bad_json: say("The server did not understand this page.", OUR_FAULT),
  bad_request: say("The server did not understand this page.", OUR_FAULT),
  unknown_event: say("The server does not know what this page asked for.", "Reload the page: it may be out of date."),
  message_too_large: say("This page sent more than the server takes at once.", OUR_FAULT),

  authentication_required: say("You are not signed in.", "Sign in and join again.", "signin"),
  token_invalid: say("The server does not accept your sign-in.", "Sign in again.", "signin"),
  token_expired: say("Your sign-in has run out.", "Sign in again.", "signin"),
  token_revoked: say("Your sign-in has been taken back.", "Sign in again.", "signin"),
  user_inactive: say("Your account is switched off.", "Ask the site’s owner to switch it on.", "home"),
  token_subject_mismatch: say("You have signed in as somebody else meanwhile.", "Sign in again and rejoin.", "signin"),

  room_not_found: say("There is no room with this code.", "Check the code, or create the room yourself.", "home"),
  room_full: say(
    "This room is full: {limit} people are in it.",
    "Join again when somebody has left, or meet in another room.",
  ),
  room_locked: say("The host has locked this room.", "Ask the host to unlock it, then join again."),
  room_closed: say("This room has been closed.", "Meet in another room.", "home"),
  already_joined: say("This page is in a room already.", "Reload the page and join again."),
  not_in_room: say("You are not in this room any more.", "Join again."),
  removed: say("You have been removed from this room.", "Ask its host if you think that this was a mistake.", "home"),

  peer_not_found: say("Somebody has left before your message reached them.", "There is nothing to do."),
  peer_busy: say("Somebody’s connection is too slow just now.", "Wait a moment; join again if they stay away."),
  forbidden: say("You are not allowed to do this.", "Ask the host of the room.", "home"),
  rate_limited: say("That was too much in a short time.", "Wait {retryAfter} seconds, then try again."),
  resume_invalid: say("Your place in the room could not be given back.", "Join again."),
  resume_expired: say("You were away for too long to keep your place.", "Join again."),
  sfu_unavailable: say("The media server for large groups cannot be reached.", "Try again in a minute."),
  unavailable: say("The server cannot do this just now.", "Try again in {retryAfter} seconds."),
  internal: say("Something went wrong on the server.", "Try again; the site’s owner can look up {reference}."),

  // Ours: nothing came back at all.
  timeout: say("The server does not answer.", "Check your network, then join again."),
};

const LOST = say("The connection was lost.", "Check your network, then join again.");

/** The close codes of PROTOCOL.md, for closes that no error frame explained. @type {Record<number, Message>} */
export const CLOSES = {
  1000: say("The server has ended the connection.", "Join again."),
  1001: say("The server is going away.", "Join again in a minute."),
  1002: say("The server did not understand this browser.", OUR_FAULT),
  1006: LOST,
  1007: say("The server could not read what this page sent.", OUR_FAULT),
  1009: say("This page sent more than the server takes at once.", OUR_FAULT),
  1012: say("The server is restarting.", "Join again in a minute."),
  4400: say("The server did not understand this page.", OUR_FAULT),
  4401: say("The server does not accept your sign-in.", "Sign in again.", "signin"),
  4403: say("You may not be in this room.", "Ask its host if you think that this is a mistake.", "home"),
  4408: say("The server heard nothing from this page for too long.", "Join again."),
  4409: say("You are in this call on another page now.", "Go on there, or join again here."),
  4410: say("This room has been closed.", "Meet in another room.", "home"),
  4429: say("This page sent too much in a short time.", "Wait a minute, then join again."),
  4500: say("Something went wrong on the server.", "Join again."),
  4503: say("The server is restarting.", "Join again in a minute."),
  4508: say("Your connection is too slow for this call.", "Move to a better network, then join again."),
};

/** What is no error yet: the signalling is away, and the call goes on without it. */
export const RECONNECTING = "Reconnecting…";

/** Nor is this: the server has lost the SFU and looks for it, and those who are connected without it stay so. */
export const SFU_LOST = "The media server was lost; trying again…";

/** Why a microphone or a camera cannot be had. @type {Record<import("../rtc/devices.js").DeviceProblem, Message>} */
export const DEVICES = {
  insecure_origin: say(
    "Browsers give no page that came over plain http the {device}.",
    "Open this page over https, or on this machine as http://localhost.",
  ),
  denied: say("This page may not use the {device}.", "Allow it in the browser’s address bar, then turn it on here."),
  missing: say("No {device} was found.", "Plug one in, then turn it on here."),
  busy: say("The {device} cannot be used.", "Close other programs that use it, then turn it on here."),
};

const DEVICE_NAMES = {audio: "microphone", video: "camera"};

const BUG = say("Something went wrong in this page.", "Reload the page; if it happens again, tell the site’s owner.");

/** @param {unknown} error @returns {Message} */
export function explain(error) {
  if (error instanceof DeviceError) return fill(DEVICES[error.problem], {device: DEVICE_NAMES[error.kind]});
  if (!(error instanceof SignallingError)) return BUG;
  const {code, closeCode, retryAfter = 10, details} = error;
  const message = ERRORS[code] ?? CLOSES[closeCode ?? 0] ?? LOST;
  return fill(message, {reference: "this moment", limit: "all", ...details, retryAfter: Math.ceil(retryAfter)});
}

/** @param {Message} message @param {Record<string, unknown>} values @returns {Message} */
function fill(message, values) {
  const put = (/** @type {string} */ text) => text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  return {what: put(message.what), todo: put(message.todo), way: message.way};
}
