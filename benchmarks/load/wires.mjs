// The three wire formats of the servers. A wire has:
//   target(config, index)  returns path and headers of the handshake
//   opened(peer)           is called when the socket is open
//   text(peer, text)       handles a received frame: calls peer.joined(id),
//                          peer.received(fromId, candidate) or peer.failed(reason)
//   relay(peerId)          returns the text of a relay to a peer

// 120 bytes, in the format of a browser.
export const MARK = 'candidate:842163049';
export const CANDIDATE =
  `${MARK} 1 udp 1677729535 192.0.2.133 46154 typ srflx ` +
  'raddr 198.51.100.17 rport 46154 generation 0 ufrag EsAw';

const joinRoom = (room) => ['join:room', { roomCode: `BENCH-${room}` }];
const candidateTo = (targetPeerId) => ['webrtc:ice', { targetPeerId, candidate: CANDIDATE }];

/** `{"event": …, "data": …}`: our protocol, also used by the simple relays in peers/. */
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

/** Socket.IO 5 on Engine.IO 4. */
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

/** PeerJS has no rooms, and clients choose their ids. */
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
