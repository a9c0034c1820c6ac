"""A crowd of headless fake peers, with real WebRTC: ``python -m fake_peers --help``.

Each is a ``peer.FakePeer``: it joins a room and takes part in full, in a mesh and through an SFU (Janus),
and tells what it sees of whom. Needs the extra ``crowd`` (aiortc and websockets), and no Django.
"""
