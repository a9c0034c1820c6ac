// A bare socket.io relay: rooms and relays, no identity and no checks. With REDIS_URL, several
// processes are connected by socket.io's Redis adapter.
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const http = createServer();
const io = new Server(http);

if (process.env.REDIS_URL) {
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

io.on('connection', (socket) => {
  socket.on('join:room', async ({ roomCode }) => {
    await socket.join(roomCode);
    socket.emit('room:joined', { roomId: roomCode, peerId: socket.id });
    socket.to(roomCode).emit('peer:joined', { peerId: socket.id });
  });
  socket.on('webrtc:ice', ({ targetPeerId, candidate }) => {
    io.to(targetPeerId).emit('webrtc:ice', { targetPeerId, candidate, fromPeerId: socket.id });
  });
});

http.listen(Number(process.argv[2]), '127.0.0.1', 4096);
