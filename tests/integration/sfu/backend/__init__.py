"""The Janus backend against a real Janus: the contract of ``signalling.sfu.base``."""
