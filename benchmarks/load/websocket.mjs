// A WebSocket client with little overhead: raw TCP, one read buffer for all sockets, a zero mask
// key (a frame is built once and sent unchanged), no extensions, no fragments.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const NOTHING = Buffer.alloc(0);
const shared = Buffer.alloc(256 * 1024); // libuv reads into it directly

export function textFrame(text) {
  return frame(TEXT, Buffer.from(text));
}

function frame(opcode, payload) {
  const isShort = payload.length < 126;
  const header = Buffer.alloc(isShort ? 6 : 8); // its last four bytes are the mask key
  header[0] = 0x80 | opcode;
  header[1] = 0x80 | (isShort ? payload.length : 126);
  if (!isShort) header.writeUInt16BE(payload.length, 2);
  return Buffer.concat([header, payload]);
}

export class WebSocketClient {
  /** `onText(buffer, start, end)` must not keep the buffer; `onClose(reason)` is called once. */
  constructor({ port, localAddress, path, headers = {} }, { onOpen, onText, onClose }) {
    this.onOpen = onOpen;
    this.onText = onText;
    this.onClose = onClose;
    this.isOpen = false;
    this.rest = NOTHING;
    this.socket = connect({
      host: '127.0.0.1',
      port,
      localAddress,
      noDelay: true,
      onread: { buffer: shared, callback: (length, buffer) => this.read(buffer, length) },
    });
    this.socket.once('connect', () => this.socket.write(handshake(port, path, headers)));
    this.socket.once('error', (error) => this.closed(error.code ?? error.message));
    this.socket.once('close', () => this.closed('connection lost'));
  }

  write(bytes) {
    this.socket.write(bytes);
  }

  read(buffer, length) {
    let data = buffer;
    let end = length;
    if (this.rest.length) {
      data = Buffer.concat([this.rest, buffer.subarray(0, length)]);
      end = data.length;
    }
    const start = this.isOpen ? 0 : this.readHandshake(data, end);
    const at = this.readFrames(data, start, end);
    this.rest = at < end ? Buffer.from(data.subarray(at, end)) : NOTHING;
    return true;
  }

  readHandshake(data, end) {
    const head = data.latin1Slice(0, end);
    const length = head.indexOf('\r\n\r\n');
    if (length < 0) return 0;
    if (!head.startsWith('HTTP/1.1 101')) {
      this.closed(head.slice(0, head.indexOf('\r\n')));
      return end;
    }
    this.isOpen = true;
    this.onOpen();
    return length + 4;
  }

  readFrames(data, start, end) {
    let at = start;
    while (this.isOpen && end - at >= 2) {
      let length = data[at + 1];
      let payload = at + 2;
      if (length === 126) {
        if (end - at < 4) break;
        length = (data[at + 2] << 8) | data[at + 3];
        payload = at + 4;
      } else if (length === 127) {
        this.closed('a frame of more than 64 KiB');
        return end;
      }
      if (payload + length > end) break;
      this.handle(data[at], data, payload, payload + length);
      at = payload + length;
    }
    return at;
  }

  handle(head, data, start, end) {
    if (head === (0x80 | TEXT)) this.onText(data, start, end);
    else if (head === (0x80 | PING)) this.write(frame(PONG, data.subarray(start, end)));
    else if (head === (0x80 | CLOSE)) this.closed(closeReason(data, start, end));
    else if (head !== (0x80 | PONG)) this.closed(`unexpected frame head ${head}`);
  }

  closed(reason) {
    this.isOpen = false;
    this.socket.destroy();
    this.onClose?.(reason);
    this.onClose = undefined;
  }

  /** Close the socket without calling `onClose`. */
  end() {
    this.onClose = undefined;
    this.write(frame(CLOSE, Buffer.from([3, 232])));
    this.socket.end();
  }
}

function handshake(port, path, headers) {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function closeReason(data, start, end) {
  if (end - start < 2) return 'closed without a code';
  return `closed ${data.readUInt16BE(start)} ${data.utf8Slice(start + 2, end)}`.trim();
}
