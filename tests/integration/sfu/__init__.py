"""Rooms that outgrow a mesh, with a real Janus and real media."""
