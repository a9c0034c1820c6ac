// The load generator: thousands of peers in one process. It reads commands as lines of JSON from
// standard input and answers each with one line of JSON. Argument: {wire, ports, path?, token?}.
//
//   {"do": "open", "count", "concurrency"}   open more sockets and join rooms of ten
//   {"do": "relay", "seconds", "warmUp", "window", "pause", "every", "crossing"}
//       closed loop: a peer sends its next candidate once its target has received the last one.
//       Writes {"started"} after the warm-up, {"ended"} after the window, and then the counts.
//   {"do": "close"}                          close all sockets
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { WebSocketClient, textFrame } from './websocket.mjs';
import { CANDIDATE, MARK, WIRES } from './wires.mjs';

const ROOM = 10;
const ADDRESSES = 8; // sources of the sockets: 127.0.0.2 and on
const JOIN_TIMEOUT = 60_000;
const DRAIN = 30_000; // relays still in flight after this long without any message are lost
const ROUND_TIMEOUT = 60_000; // the time a slow server gets to deliver one message per sender

const config = JSON.parse(process.argv[2]);
const wire = WIRES[config.wire];
const mark = Buffer.from(MARK);

const peers = [];
const problems = new Map(); // description → count
const run = { isRunning: false, isMeasured: false, window: 1, pause: 0, delivered: 0, latencies: [] };

function problem(description) {
  problems.set(description, (problems.get(description) ?? 0) + 1);
}

class Peer {
  constructor(index, whenJoined) {
    this.index = index;
    this.room = Math.floor(index / ROOM);
    this.token = config.token;
    this.whenJoined = whenJoined;
    this.id = undefined;
    this.target = undefined; // the peer this one sends to
    this.sender = undefined; // the peer that sends to this one
    this.reset();
    const socket = {
      port: config.ports[index % config.ports.length],
      localAddress: `127.0.0.${2 + (index % ADDRESSES)}`,
      ...wire.target(config, index),
    };
    this.client = new WebSocketClient(socket, {
      onOpen: () => wire.opened(this),
      onText: (buffer, start, end) => this.read(buffer, start, end),
      onClose: (reason) => this.failed(`socket: ${reason}`),
    });
  }

  reset() {
    this.sent = 0;
    this.arrived = 0;
    this.sentAt = new Float64Array(run.window);
    this.shape = undefined; // length of a relayed frame, and the candidate's position in it
  }

  send(text) {
    this.client.write(textFrame(text));
  }

  /** Parse the first relayed frame; later frames of the same shape count without parsing. */
  read(buffer, start, end) {
    const at = buffer.indexOf(mark, start);
    const shape = at >= 0 && at < end ? (end - start) * 65_536 + at - start : undefined;
    if (shape !== undefined && shape === this.shape) return this.sender.delivered();
    this.candidateShape = shape;
    wire.text(this, buffer.utf8Slice(start, end));
  }

  received(from, candidate) {
    if (from !== this.sender?.id || candidate !== CANDIDATE) {
      return problem(`received a wrong relay: ${candidate} from ${from}`);
    }
    this.shape = this.candidateShape;
    this.sender.delivered();
  }

  joined(id) {
    this.id = id;
    this.whenJoined();
  }

  failed(reason) {
    problem(reason);
    this.whenJoined();
  }

  relayTo(target) {
    this.reset();
    this.target = target;
    target.sender = this;
    this.frame = textFrame(wire.relay(target.id));
  }

  next() {
    if (!run.isRunning || !this.client.isOpen) return;
    this.sentAt[this.sent++ % run.window] = performance.now();
    this.client.write(this.frame);
  }

  /** The target has received a relay: the oldest in flight, since order is preserved. */
  delivered() {
    if (this.arrived >= this.sent) return problem('received a relay that was not sent');
    const sentAt = this.sentAt[this.arrived++ % run.window];
    run.delivered++;
    if (run.isMeasured) run.latencies.push(performance.now() - sentAt);
    if (run.pause) setTimeout(() => this.next(), run.pause);
    else this.next();
  }
}

async function open({ count, concurrency = 20 }) {
  const last = peers.length + count;
  const worker = async () => {
    while (peers.length < last) {
      await new Promise((resolve) => {
        const index = peers.length;
        const timer = setTimeout(() => {
          problem('no room:joined within the timeout');
          resolve();
        }, JOIN_TIMEOUT);
        peers.push(
          new Peer(index, () => {
            clearTimeout(timer);
            resolve();
          }),
        );
      });
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { joined: peers.filter((peer) => peer.id && peer.client.isOpen).length };
}

/** Each room is a ring. With two servers, neighbours in the ring are on different servers. */
function pair({ every = 1, crossing = 'half' }) {
  const active = peers.filter((peer) => peer.room % every === 0);
  for (const peer of active) {
    const step = crossing === 'all' || peer.room % 2 === 0 ? 1 : 2;
    const base = peer.room * ROOM;
    peer.relayTo(peers[base + ((peer.index - base + step) % ROOM)]);
  }
  return active;
}

async function relay({ seconds, warmUp = 1, window = 1, pause = 0, ...pairing }) {
  Object.assign(run, { isRunning: true, window, pause, delivered: 0, latencies: [] });
  const senders = pair(pairing);
  for (const peer of senders) {
    if (pause) setTimeout(() => peer.next(), Math.random() * pause);
    else for (let i = 0; i < window; i++) peer.next();
  }
  await sleep(warmUp * 1000);
  await delivered(senders.length);
  const start = { at: performance.now(), cpu: process.cpuUsage(), delivered: run.delivered };
  run.isMeasured = true;
  send({ started: true });
  await sleep(seconds * 1000);
  await delivered(start.delivered + senders.length);
  run.isMeasured = false;
  const elapsed = (performance.now() - start.at) / 1000;
  const cpu = process.cpuUsage(start.cpu);
  const messages = run.delivered - start.delivered;
  const result = { messages, elapsed, loadCpu: (cpu.user + cpu.system) / 1e6 / elapsed };
  send({ ended: true });
  run.isRunning = false;
  return { ...result, ...percentiles(run.latencies), lost: await drain(senders) };
}

/** Wait for a whole round where one takes longer than the window; half a round is meaningless. */
async function delivered(count) {
  for (let waited = 0; run.delivered < count && waited < ROUND_TIMEOUT; waited += 20) await sleep(20);
}

async function drain(senders) {
  const count = () => senders.reduce((sum, peer) => sum + peer.sent - peer.arrived, 0);
  for (let missing = count(), idle = 0; missing && idle < DRAIN; idle += 50) {
    await sleep(50);
    const now = count();
    if (now < missing) idle = 0;
    missing = now;
  }
  return count();
}

function percentiles(latencies) {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.floor(sorted.length * share)] ?? null;
  return { p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? null };
}

async function close() {
  for (const peer of peers) peer.client.end();
  await sleep(200);
  peers.length = 0;
  return {};
}

function send(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const COMMANDS = { open, relay, close };
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...options } = JSON.parse(line);
  const answer = await COMMANDS[name](options);
  send({ done: name, ...answer, problems: Object.fromEntries(problems) });
  problems.clear();
}
process.exit(0);
