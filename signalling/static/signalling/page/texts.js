/** The texts of the call page that JavaScript shows, except for errors (error-texts.js). */
import {gettext as _} from "./gettext.js";

export const TEXTS = {
  firstOne: _("You are the first one here. Copy the link to invite others."),
  othersInCall: _("Others in the call: {count}"),
  joined: _("{name} joined"),
  left: _("{name} left"),
  linkCopied: _("Link copied"),
  linkNotCopied: _("Your browser does not allow copying. The link is {link}"),
  /** Shown while the signalling socket is reopened. The call continues. */
  reconnecting: _("Reconnecting…"),
  /** Shown while the SFU is unavailable. Connections through the mesh continue. */
  sfuLost: _("Media server unavailable. Reconnecting…"),
  you: _("{name} (you)"),
  muted: _("muted"),
  cameraOff: _("camera off"),
  peerConnecting: _("connecting…"),
  peerInterrupted: _("connection interrupted…"),
  peerFailed: _("no connection, retrying…"),
  peerAway: _("reconnecting…"),
  direct: _("direct"),
  viaServer: _("via server"),
};
