/**
 * Return how much video to send to each other peer: all of it shares everyone's uplink.
 * @param {number[]} meshKbps for 2 peers, 3 peers, …
 * @param {number} others how many other peers there are
 * @param {boolean} isSentTwice whether the same video is sent to an SFU too
 * @returns {number | null}
 */
export function meshCap(meshKbps, others, isSentTwice) {
  const smallest = meshKbps.at(-1) ?? null;
  return isSentTwice ? smallest : (meshKbps[Math.max(others, 1) - 1] ?? smallest);
}
