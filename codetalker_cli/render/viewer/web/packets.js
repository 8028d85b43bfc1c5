// Reads packets: named arrays with a small header. packets.py describes and writes them.

const TYPES = {
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i1: Int8Array, i2: Int16Array, i4: Int32Array,
  f4: Float32Array,
};

/**
 * Returns all packets in some bytes, each as { kind, header, arrays, shapes }.
 *
 * `arrays` contains a typed array for each name, and `shapes` its shape.
 */
export function unpackAll(bytes) {
  const packets = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length;) {
    const nHeader = view.getUint32(at, true);
    const nBody = view.getUint32(at + 4, true);
    packets.push(unpack(bytes.subarray(at, at + 8 + nHeader + nBody)));
    at += 8 + nHeader + nBody;
  }
  return packets;
}

/** Returns one packet as { kind, header, arrays, shapes }. */
export function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8 + view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, at)));
  const arrays = {};
  const shapes = {};
  for (const { name, dtype, shape, delta } of header.arrays) {
    const count = shape.reduce((product, n) => product * n, 1);
    const size = TYPES[dtype].BYTES_PER_ELEMENT;
    const values = fromPlanes(bytes.subarray(at, at + size * count), dtype, size, count);
    arrays[name] = delta ? sums(values, shape.at(-1)) : values;
    shapes[name] = shape;
    at += size * count;
  }
  return { kind: header.kind, header, arrays, shapes };
}

function fromPlanes(bytes, dtype, size, count) {
  const whole = new Uint8Array(size * count);
  if (size === 1) whole.set(bytes);
  else {
    for (let plane = 0; plane < size; plane++) {
      const start = plane * count;
      for (let i = 0; i < count; i++) whole[i * size + plane] = bytes[start + i];
    }
  }
  if (!dtype.startsWith('i')) return new TYPES[dtype](whole.buffer);
  const zigzag = new TYPES[`u${size}`](whole.buffer);
  const values = new TYPES[dtype](count);
  for (let i = 0; i < count; i++) values[i] = (zigzag[i] >>> 1) ^ -(zigzag[i] & 1);
  return values;
}

/** Returns the running sums along rows of the given length. */
function sums(values, length) {
  const result = new Int32Array(values.length);
  for (let start = 0; start < values.length; start += length) {
    let sum = 0;
    for (let i = start; i < start + length; i++) {
      sum += values[i];
      result[i] = sum;
    }
  }
  return result;
}
