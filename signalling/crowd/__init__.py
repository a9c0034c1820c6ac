"""A crowd of headless fake peers, with real WebRTC: ``python -m signalling.crowd --help``.

Each is a ``peer.CrowdPeer``: it joins a room and takes part in full, in a mesh and through an SFU (Janus),
and tells what it sees of whom. Needs the extra ``crowd`` (aiortc and websockets), and no Django.
"""
