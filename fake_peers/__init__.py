"""Headless fake peers with real WebRTC, for demos and tests: ``python -m fake_peers --help``.

A ``peer.FakePeer`` joins a room and takes full part in its call, in a mesh and through a proxied SFU,
and reports what it receives from each other peer. Requires aiortc and websockets, but not Django.
"""
