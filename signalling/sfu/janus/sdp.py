"""What Janus can read of what clients say."""

from __future__ import annotations

from typing import Any

from signalling.sfu.base import Candidate, Description

CANDIDATE_KEYS = ("candidate", "sdpMid", "sdpMLineIndex")


def readable(description: Description) -> Description:
    """Return a description without the fingerprints that Janus cannot read.

    RFC 8122, 5, allows several; Janus 1.1 takes the last for SHA-256, whatever it is.
    """
    sha256 = fingerprints(description)
    if not sha256:
        return description
    lines = description["sdp"].splitlines(keepends=True)
    kept = (
        line for line in lines if line.rstrip() in sha256 or not line.startswith("a=fingerprint:")
    )
    return {**description, "sdp": "".join(kept)}


def fingerprints(description: Description) -> set[str]:
    """Return what tells one RTCPeerConnection from another: the fingerprints of its certificate."""
    lines = description["sdp"].splitlines()
    return {line for line in lines if line.lower().startswith("a=fingerprint:sha-256 ")}


def trickled(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as Janus wants it; a bare line is of the first section, which bundles all."""
    if not candidate:
        return {"completed": True}
    if isinstance(candidate, str):
        return {"candidate": candidate, "sdpMLineIndex": 0}
    if not candidate.get("candidate"):
        return {"completed": True}
    return {key: candidate[key] for key in CANDIDATE_KEYS if candidate.get(key) is not None}
