// The PeerJS server. It has no rooms: peers address each other by id.
import { PeerServer } from 'peer';

const HOUR = 3_600_000; // the load generator sends no PeerJS heartbeats

PeerServer({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  path: '/',
  concurrent_limit: 20_000,
  alive_timeout: HOUR,
});
