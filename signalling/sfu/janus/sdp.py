"""Converts descriptions and candidates of clients to what Janus supports."""

from __future__ import annotations

from typing import Any

from signalling.sfu.base import Candidate, Description

CANDIDATE_KEYS = ("candidate", "sdpMid", "sdpMLineIndex")


def janus_description(description: Description) -> Description:
    """Return a description without the fingerprints that Janus cannot use.

    RFC 8122, section 5, allows several. Janus 1.1 reads the last one as SHA-256, whatever its hash
    function.
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
    """Return the SHA-256 fingerprint lines. They identify the RTCPeerConnection."""
    lines = description["sdp"].splitlines()
    return {line for line in lines if line.lower().startswith("a=fingerprint:sha-256 ")}


def janus_candidate(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate for ``trickle``.

    A bare candidate line belongs to the first section, which bundles the others.
    """
    if not candidate:
        return {"completed": True}
    if isinstance(candidate, str):
        return {"candidate": candidate, "sdpMLineIndex": 0}
    if not candidate.get("candidate"):
        return {"completed": True}
    return {key: candidate[key] for key in CANDIDATE_KEYS if candidate.get(key) is not None}
