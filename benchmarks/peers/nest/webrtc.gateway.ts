// The NestJS gateway that django-signalling replaces, in idiomatic NestJS: the JWT is verified at
// the handshake, rooms are a map in memory, and relays only reach peers in the sender's room.
import { JwtService } from '@nestjs/jwt';
import {
  ConnectedSocket,
  MessageBody,
  OnGatewayDisconnect,
  OnGatewayInit,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  WsException,
} from '@nestjs/websockets';
import type { Namespace, Socket } from 'socket.io';

const MAX_PEERS = 10;

interface UserInfo {
  username: string;
}

interface Relay {
  targetPeerId: string;
  offer?: unknown;
  answer?: unknown;
  candidate?: unknown;
}

type Room = Map<string, UserInfo>;

@WebSocketGateway({
  cors: { origin: process.env.CLIENT_URL || 'http://localhost:5173', credentials: true },
  namespace: '/',
})
export class WebrtcGateway implements OnGatewayInit, OnGatewayDisconnect {
  @WebSocketServer()
  private readonly server!: Namespace;
  private readonly rooms = new Map<string, Room>();

  constructor(private readonly jwt: JwtService) {}

  afterInit(server: Namespace): void {
    server.use((socket, next) => {
      this.jwt.verifyAsync(socket.handshake.auth.token).then(
        (claims) => {
          socket.data.userInfo = { username: `user${claims.user_id}` };
          next();
        },
        () => next(new Error('authentication_required')),
      );
    });
  }

  handleDisconnect(socket: Socket): void {
    this.leave(socket);
  }

  @SubscribeMessage('join:room')
  async joinRoom(@ConnectedSocket() socket: Socket, @MessageBody() data: { roomCode: string }) {
    if (typeof data?.roomCode !== 'string') throw new WsException('bad_request');
    if (socket.data.roomId) throw new WsException('already_joined');
    const roomId = `room_${data.roomCode.toLowerCase()}`;
    const room = this.rooms.get(roomId) ?? new Map<string, UserInfo>();
    if (room.size >= MAX_PEERS) throw new WsException('room_full');
    const peers = [...room].map(([id, userInfo]) => ({ id, userInfo }));
    this.rooms.set(roomId, room.set(socket.id, socket.data.userInfo));
    socket.data.roomId = roomId;
    await socket.join(roomId);
    const joined = { peerId: socket.id, userInfo: socket.data.userInfo };
    socket.to(roomId).emit('peer:joined', joined);
    return { event: 'room:joined', data: { roomId, peerId: socket.id, peers } };
  }

  @SubscribeMessage('leave:room')
  leaveRoom(@ConnectedSocket() socket: Socket): void {
    this.leave(socket);
  }

  @SubscribeMessage('webrtc:offer')
  offer(@ConnectedSocket() socket: Socket, @MessageBody() data: Relay): void {
    this.relay(socket, 'webrtc:offer', data, { offer: data?.offer });
  }

  @SubscribeMessage('webrtc:answer')
  answer(@ConnectedSocket() socket: Socket, @MessageBody() data: Relay): void {
    this.relay(socket, 'webrtc:answer', data, { answer: data?.answer });
  }

  @SubscribeMessage('webrtc:ice')
  ice(@ConnectedSocket() socket: Socket, @MessageBody() data: Relay): void {
    this.relay(socket, 'webrtc:ice', data, { candidate: data?.candidate });
  }

  private relay(socket: Socket, event: string, data: Relay, payload: object): void {
    const target = this.server.sockets.get(data?.targetPeerId);
    if (!target || !this.rooms.get(socket.data.roomId)?.has(target.id)) {
      throw new WsException('peer_not_found');
    }
    target.emit(event, { targetPeerId: target.id, ...payload, fromPeerId: socket.id });
  }

  private leave(socket: Socket): void {
    const { roomId } = socket.data;
    const room = this.rooms.get(roomId);
    if (!room?.delete(socket.id)) return;
    socket.data.roomId = undefined;
    if (room.size === 0) this.rooms.delete(roomId);
    void socket.leave(roomId);
    this.server.to(roomId).emit('peer:left', { peerId: socket.id });
  }
}
