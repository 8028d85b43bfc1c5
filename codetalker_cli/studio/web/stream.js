// Reads the packets of a take while the server computes them.

import { request } from './api.js';
import { unpackAll } from '/viewer/packets.js';

/** Yields the packets of a take as soon as they are complete. */
export async function* packetsOf(id, signal) {
  const response = await request('GET', `/api/takes/${id}/frames`, undefined, signal);
  const reader = response.body.getReader();
  let rest = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest = joined(rest, value);
    const end = endOfPackets(rest);
    if (end) {
      yield unpackAll(rest.slice(0, end));
      rest = rest.slice(end);
    }
  }
}

function joined(first, second) {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/** Returns where the last complete packet ends. */
function endOfPackets(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 8 <= bytes.length) {
    const size = 8 + view.getUint32(at, true) + view.getUint32(at + 4, true);
    if (at + size > bytes.length) break;
    at += size;
  }
  return at;
}

const faces = new Map();

/** Returns the packet of a face, which is read once. */
export function faceOf(subject) {
  if (!faces.has(subject)) {
    const reading = request('GET', `/api/faces/${encodeURIComponent(subject)}`)
      .then((response) => response.arrayBuffer())
      .then((content) => unpackAll(new Uint8Array(content))[0]);
    reading.catch(() => faces.delete(subject));
    faces.set(subject, reading);
  }
  return faces.get(subject);
}
