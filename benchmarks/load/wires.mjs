// The three wires that the servers speak. A wire says how to get in and what a relay looks like:
//   target(config, index)  path and headers of the handshake
//   opened(peer)           the socket is open
//   text(peer, text)       a frame came; calls peer.joined(id), peer.received(fromId) or peer.failed(why)
//   relay(peerId)          the text of a relay to a peer

// 120 bytes, as a browser writes them.
export const MARK = 'candidate:842163049';
export const CANDIDATE =
  `${MARK} 1 udp 1677729535 192.0.2.133 46154 typ srflx ` +
  'raddr 198.51.100.17 rport 46154 generation 0 ufrag EsAw';

const joinRoom = (room) => ['join:room', { roomCode: `BENCH-${room}` }];
const candidateTo = (targetPeerId) => ['webrtc:ice', { targetPeerId, candidate: CANDIDATE }];

/** `{"event": …, "data": …}`: ours, and the relays that imitate it. */
const json = {
  target: ({ path, token }) => ({ path, headers: token ? { Authorization: `Bearer ${token}` } : {} }),
  opened(peer) {
    peer.send(json.frame(...joinRoom(peer.room)));
  },
  text(peer, text) {
    const { event, data } = JSON.parse(text);
    if (event === 'webrtc:ice') peer.received(data.fromPeerId, data.candidate);
    else if (event === 'room:joined') peer.joined(data.peerId);
    else if (event === 'error') peer.failed(`error ${data.code}: ${data.message}`);
  },
  relay: (peerId) => json.frame(...candidateTo(peerId)),
  frame: (event, data) => JSON.stringify({ event, data }),
};

/** Engine.IO 4 below Socket.IO 5. */
const socketio = {
  target: () => ({ path: '/socket.io/?EIO=4&transport=websocket' }),
  opened() {},
  text(peer, text) {
    if (text.startsWith('0')) peer.send(`40${JSON.stringify({ token: peer.token })}`);
    else if (text === '2') peer.send('3');
    else if (text.startsWith('40')) peer.send(socketio.frame(...joinRoom(peer.room)));
    else if (text.startsWith('42')) socketio.event(peer, ...JSON.parse(text.slice(2)));
    else peer.failed(`unexpected packet ${text.slice(0, 200)}`);
  },
  event(peer, event, data) {
    if (event === 'webrtc:ice') peer.received(data.fromPeerId, data.candidate);
    else if (event === 'room:joined') peer.joined(data.peerId);
    else if (event === 'exception') peer.failed(`exception ${JSON.stringify(data)}`);
  },
  relay: (peerId) => socketio.frame(...candidateTo(peerId)),
  frame: (event, data) => `42${JSON.stringify([event, data])}`,
};

/** PeerJS: no rooms, and the client chooses its id. */
const peerjs = {
  target: (_, index) => ({
    path: `/peerjs?key=peerjs&id=bench-${index}&token=t${index}&version=1.5.5`,
  }),
  opened() {},
  text(peer, text) {
    const { type, payload, src } = JSON.parse(text);
    if (type === 'CANDIDATE') peer.received(src, payload.candidate);
    else if (type === 'OPEN') peer.joined(`bench-${peer.index}`);
    else peer.failed(`${type} ${payload?.msg ?? ''}`);
  },
  relay: (dst) =>
    JSON.stringify({ type: 'CANDIDATE', payload: { candidate: CANDIDATE }, dst }),
};

export const WIRES = { json, socketio, peerjs };
