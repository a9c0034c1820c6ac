/**
 * The texts for every error that a user can see: what happened, and what to do. All user-visible
 * error texts are here.
 *
 * @typedef {"home" | "again" | "signin"} Action the button that is offered
 * @typedef {{title: string, advice: string, action: Action}} ErrorText
 */
import {DeviceError, SignallingError} from "../index.js";
import {fill, gettext as _} from "./gettext.js";

/** @import {DeviceProblem} from "../index.js" */

/** @param {string} title @param {string} advice @param {Action} action @returns {ErrorText} */
const text = (title, advice, action = "again") => ({title, advice, action});

const CONTACT_OWNER = _("Join again. If it keeps happening, contact the site’s owner.");
const USE_HTTPS = _("Open this page with https, or on this computer as http://localhost.");
const ALLOW_DEVICE = _("Allow it in the browser’s address bar, then turn it on here.");
const PLUG_IN = _("Plug one in, then turn it on here.");
const CLOSE_OTHERS = _("Close other programs that use it, then turn it on here.");

/**
 * The error codes of PROTOCOL.md. `{name}` is replaced with data from the error.
 * @type {Record<string, ErrorText>}
 */
export const ERRORS = {
  bad_json: text(_("Something is wrong with this page."), CONTACT_OWNER),
  bad_request: text(_("Something is wrong with this page."), CONTACT_OWNER),
  unknown_event: text(_("This page may be out of date."), _("Reload it, then join again.")),
  message_too_large: text(_("This page sent too much data at once."), CONTACT_OWNER),

  authentication_required: text(_("You are not signed in."), _("Sign in, then join again."), "signin"),
  token_invalid: text(_("Your sign-in is not valid."), _("Sign in again."), "signin"),
  token_expired: text(_("Your sign-in has expired."), _("Sign in again."), "signin"),
  token_revoked: text(_("You have been signed out."), _("Sign in again."), "signin"),
  user_inactive: text(_("Your account is disabled."), _("Ask the site’s owner to enable it."), "home"),
  token_subject_mismatch: text(
    _("You are now signed in as a different user."),
    _("Sign in again, then rejoin."),
    "signin",
  ),

  room_not_found: text(
    _("There is no room with this code."),
    _("Check the code, or create the room yourself."),
    "home",
  ),
  room_full: text(
    _("This room is full ({limit} people)."),
    _("Join again when someone has left, or use another room."),
  ),
  too_many_devices: text(
    _("You are in this room on too many devices."),
    _("Leave it on one of them, then join again."),
  ),
  room_locked: text(_("This room is locked."), _("Ask the host to unlock it, then join again.")),
  room_closed: text(_("This room has been closed."), _("Use another room."), "home"),
  already_joined: text(_("You have already joined a room on this page."), _("Reload the page, then join again.")),
  not_in_room: text(_("You are no longer in this room."), _("Join again.")),
  evicted: text(_("This room is full, and the host needed your place."), _("Join again when someone has left.")),
  removed: text(_("You have been removed from this room."), _("If you think this is a mistake, ask the host."), "home"),

  peer_not_found: text(_("Someone has just left the call."), _("You don’t need to do anything.")),
  peer_busy: text(
    _("Someone in the call has a slow connection."),
    _("Wait a moment. If you can’t see them, join again."),
  ),
  forbidden: text(_("You are not allowed to do this."), _("Ask the host of the room."), "home"),
  rate_limited: text(_("Too many requests."), _("Wait {retryAfter} seconds, then try again.")),
  resume_invalid: text(_("You could not be reconnected."), _("Join again.")),
  resume_expired: text(_("You were disconnected for too long."), _("Join again.")),
  sfu_unavailable: text(_("Large calls are not available right now."), _("Try again in a minute.")),
  unavailable: text(_("The server is temporarily unavailable."), _("Try again in {retryAfter} seconds.")),
  internal: text(_("Something went wrong on the server."), _("Try again. If you report it, mention {reference}.")),

  // Set by the client: the server did not answer at all.
  timeout: text(_("The server is not responding."), _("Check your network, then join again.")),
};

const CONNECTION_LOST = text(_("The connection was lost."), _("Check your network, then join again."));

/**
 * The close codes of PROTOCOL.md, for closes without an error frame.
 * @type {Record<number, ErrorText>}
 */
export const CLOSES = {
  1000: text(_("The server has closed the connection."), _("Join again.")),
  1001: text(_("The server is shutting down."), _("Join again in a minute.")),
  1002: text(_("The server could not understand your browser."), CONTACT_OWNER),
  1006: CONNECTION_LOST,
  1007: text(_("Something is wrong with this page."), CONTACT_OWNER),
  1008: text(_("This page sent too many pings."), CONTACT_OWNER),
  1009: text(_("This page sent too much data at once."), CONTACT_OWNER),
  1012: text(_("The server is restarting."), _("Join again in a minute.")),
  4400: text(_("Something is wrong with this page."), CONTACT_OWNER),
  4401: text(_("Your sign-in is not valid."), _("Sign in again."), "signin"),
  4403: text(_("You can’t join this room."), _("If you think this is a mistake, ask the host."), "home"),
  4408: text(_("The connection was idle for too long."), _("Join again.")),
  4409: text(_("You have joined this call on another page."), _("Continue there, or join again here.")),
  4410: text(_("This room has been closed."), _("Use another room."), "home"),
  4429: text(_("This page sent too many messages."), _("Wait a minute, then join again.")),
  4500: text(_("Something went wrong on the server."), _("Join again.")),
  4503: text(_("The server is restarting."), _("Join again in a minute.")),
  4508: text(_("Your connection is too slow for this call."), _("Switch to a faster network, then join again.")),
};

/**
 * Why a microphone or camera cannot be used.
 * @type {Record<"audio" | "video", Record<DeviceProblem, ErrorText>>}
 */
export const DEVICES = {
  audio: {
    insecure_origin: text(_("The microphone needs a secure page."), USE_HTTPS),
    denied: text(_("This page may not use the microphone."), ALLOW_DEVICE),
    missing: text(_("No microphone was found."), PLUG_IN),
    busy: text(_("The microphone cannot be used."), CLOSE_OTHERS),
  },
  video: {
    insecure_origin: text(_("The camera needs a secure page."), USE_HTTPS),
    denied: text(_("This page may not use the camera."), ALLOW_DEVICE),
    missing: text(_("No camera was found."), PLUG_IN),
    busy: text(_("The camera cannot be used."), CLOSE_OTHERS),
  },
};

const BUG = text(
  _("Something went wrong on this page."),
  _("Reload it. If it keeps happening, contact the site’s owner."),
);

/** @param {unknown} error @returns {ErrorText} */
export function explain(error) {
  if (error instanceof DeviceError) return DEVICES[error.kind][error.problem];
  if (!(error instanceof SignallingError)) return BUG;
  const {code, closeCode, retryAfter = 10, details} = error;
  const found = ERRORS[code] ?? CLOSES[closeCode ?? 0] ?? CONNECTION_LOST;
  const defaults = {reference: _("the time"), limit: _("too many")};
  // At least two seconds: the texts are in the plural.
  const values = {...defaults, ...details, retryAfter: Math.max(2, Math.ceil(retryAfter))};
  return {title: fill(found.title, values), advice: fill(found.advice, values), action: found.action};
}
