// The practical minimum: a relay on `ws` without identity or checks.
import { randomUUID } from 'node:crypto';

import { WebSocketServer } from 'ws';

const sockets = new Map();
const rooms = new Map();

const server = new WebSocketServer({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  backlog: 4096,
});

server.on('connection', (socket) => {
  const peerId = randomUUID();
  const send = (to, event, data) => to.send(JSON.stringify({ event, data }));
  let room = new Set();
  sockets.set(peerId, socket);

  socket.on('message', (frame) => {
    const { event, data } = JSON.parse(frame);
    if (event === 'join:room') {
      room = rooms.get(data.roomCode) ?? new Set();
      rooms.set(data.roomCode, room);
      send(socket, 'room:joined', { roomId: data.roomCode, peerId });
      for (const other of room) send(other, 'peer:joined', { peerId });
      room.add(socket);
    } else {
      const target = sockets.get(data.targetPeerId);
      if (target) send(target, event, { ...data, fromPeerId: peerId });
    }
  });
  socket.on('close', () => {
    sockets.delete(peerId);
    room.delete(socket);
  });
});
