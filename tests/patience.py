"""How long tests wait for what must happen."""

PATIENCE = 60.0
"""Seconds after which something that must happen counts as missing.

It only keeps a test from hanging, so a green test never waits for it. Unit tests run with a low
priority beside servers and browsers, which may leave them no processor for many seconds.
"""
