// The load generator: thousands of peers in one process, told what to do by lines of JSON on its
// standard input; every answer is one line of JSON. Argument: {wire, ports, path?, token?}.
//
//   {"do": "open", "count", "concurrency"}   open more sockets and join rooms of ten
//   {"do": "relay", "seconds", "warmUp", "window", "pause", "every", "crossing"}
//       closed loop: a peer sends its next candidate once its mate has received the last one.
//       Says {"begun"} after the warm-up and the counts at the end.
//   {"do": "close"}                          close all sockets
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { WebSocketClient, textFrame } from './websocket.mjs';
import { CANDIDATE, MARK, WIRES } from './wires.mjs';

const ROOM = 10;
const ADDRESSES = 8; // sources of the sockets: 127.0.0.2 and on
const JOIN_TIMEOUT = 60_000;
const DRAIN = 30_000; // without a single message, what is still under way is lost
const LONGEST = 60_000; // for which a slow server may take to deliver one message of each sender

const config = JSON.parse(process.argv[2]);
const wire = WIRES[config.wire];
const mark = Buffer.from(MARK);

const peers = [];
const problems = new Map(); // what went wrong → how often
const run = { isRunning: false, isMeasured: false, window: 1, pause: 0, delivered: 0, latencies: [] };

function problem(what) {
  problems.set(what, (problems.get(what) ?? 0) + 1);
}

class Peer {
  constructor(index, whenJoined) {
    this.index = index;
    this.room = Math.floor(index / ROOM);
    this.token = config.token;
    this.whenJoined = whenJoined;
    this.id = undefined;
    this.mate = undefined; // whom this peer sends to
    this.sender = undefined; // who sends to this peer
    this.startOver();
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

  startOver() {
    this.sent = 0;
    this.arrived = 0;
    this.sentAt = new Float64Array(run.window);
    this.shape = undefined; // of a relayed frame to this peer: its length and where the candidate is
  }

  send(text) {
    this.client.write(textFrame(text));
  }

  /** The first relayed frame is read in full; what has its shape later is taken for its like. */
  read(buffer, start, end) {
    const at = buffer.indexOf(mark, start);
    const shape = at >= 0 && at < end ? (end - start) * 65_536 + at - start : undefined;
    if (shape !== undefined && shape === this.shape) return this.sender.delivered();
    this.candidateShape = shape;
    wire.text(this, buffer.utf8Slice(start, end));
  }

  received(from, candidate) {
    if (from !== this.sender?.id || candidate !== CANDIDATE) {
      return problem(`not what was sent: ${candidate} from ${from}`);
    }
    this.shape = this.candidateShape;
    this.sender.delivered();
  }

  joined(id) {
    this.id = id;
    this.whenJoined();
  }

  failed(why) {
    problem(why);
    this.whenJoined();
  }

  relayTo(mate) {
    this.startOver();
    this.mate = mate;
    mate.sender = this;
    this.frame = textFrame(wire.relay(mate.id));
  }

  next() {
    if (!run.isRunning || !this.client.isOpen) return;
    this.sentAt[this.sent++ % run.window] = performance.now();
    this.client.write(this.frame);
  }

  /** The mate has received one: the oldest one, for order is kept. */
  delivered() {
    if (this.arrived >= this.sent) return problem('received what was not sent');
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
          problem('no room:joined in time');
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

/** Who sends to whom: a ring in each room. With two servers, neighbours are on different ones. */
function pair({ every = 1, crossing = 'half' }) {
  const active = peers.filter((peer) => peer.room % every === 0);
  for (const peer of active) {
    const step = crossing === 'all' || peer.room % 2 === 0 ? 1 : 2;
    const base = peer.room * ROOM;
    peer.relayTo(peers[base + ((peer.index - base + step) % ROOM)]);
  }
  return active;
}

async function relay({ seconds, warmUp = 1, window = 1, pause = 0, ...whom }) {
  Object.assign(run, { isRunning: true, window, pause, delivered: 0, latencies: [] });
  const senders = pair(whom);
  for (const peer of senders) {
    if (pause) setTimeout(() => peer.next(), Math.random() * pause);
    else for (let i = 0; i < window; i++) peer.next();
  }
  await sleep(warmUp * 1000);
  await delivered(senders.length);
  const began = { at: performance.now(), cpu: process.cpuUsage(), delivered: run.delivered };
  run.isMeasured = true;
  say({ begun: true });
  await sleep(seconds * 1000);
  await delivered(began.delivered + senders.length);
  run.isMeasured = false;
  const elapsed = (performance.now() - began.at) / 1000;
  const cpu = process.cpuUsage(began.cpu);
  const messages = run.delivered - began.delivered;
  const result = { messages, elapsed, loadCpu: (cpu.user + cpu.system) / 1e6 / elapsed };
  say({ ended: true });
  run.isRunning = false;
  return { ...result, ...percentiles(run.latencies), lost: await drain(senders) };
}

/** Where rounds take longer than the window, let one round pass: half of one says nothing. */
async function delivered(count) {
  for (let waited = 0; run.delivered < count && waited < LONGEST; waited += 20) await sleep(20);
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

function say(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const COMMANDS = { open, relay, close };
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...options } = JSON.parse(line);
  const answer = await COMMANDS[name](options);
  say({ done: name, ...answer, problems: Object.fromEntries(problems) });
  problems.clear();
}
process.exit(0);
