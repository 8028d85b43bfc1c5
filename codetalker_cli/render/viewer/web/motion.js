// Decodes the frames of one face: the template plus a weighted sum of basis vectors. The vectors and
// the weights can arrive while the motion is shown, so a stream and a file use the same class.

/** A face that moves. */
export class Motion {
  /** @param {{header: object, arrays: object}} face A packet of kind "face". */
  constructor(face) {
    this.template = face.arrays.template; // (V, 3)
    this.fps = face.header.fps;
    this.nFrames = 0;
    this.pivot = face.header.pivot;
    this._millimeters = face.header.millimeters;
    this._lips = [face.arrays.lips_upper, face.arrays.lips_lower];
    this.nVectors = 0;
    // The present basis. `gaps` are the changes of the lip gap for a weight of 1, of each vector, and
    // `weights` those of the present picture.
    this._basis = { vectors: [], gaps: [], weights: new Float32Array(0) };
    // { start, n, k, weights: Float32Array (n, k), head: Float32Array (n, 3), basis }
    this._blocks = [];
  }

  /** Takes a packet of any kind: "basis" or "frames"; others are ignored. */
  add(packet) {
    if (packet.kind === 'basis') this._addBasis(packet);
    else if (packet.kind === 'frames') this._addFrames(packet);
  }

  /** Extends the basis, or starts a new one; earlier blocks keep theirs. */
  _addBasis({ header, arrays, shapes }) {
    const [count, , nVertices] = shapes.vectors;
    const { vectors, gaps } = header.restarts ? { vectors: [], gaps: [] } : this._basis;
    for (let k = 0; k < count; k++) {
      const vector = new Float32Array(3 * nVertices);
      for (let axis = 0; axis < 3; axis++) {
        const start = (3 * k + axis) * nVertices;
        for (let v = 0; v < nVertices; v++) {
          vector[3 * v + axis] = Math.fround(arrays.vectors[start + v] * arrays.scale[k]);
        }
      }
      vectors.push(vector);
      gaps.push(this.hasLips ? this._meanGap(vector) : 0);
    }
    this.nVectors += count;
    if (header.restarts) this._basis = { vectors, gaps };
    this._basis.weights = new Float32Array(vectors.length);
  }

  _addFrames({ arrays, shapes }) {
    const [k, n] = shapes.coefficients;
    const weights = new Float32Array(n * k);
    const head = new Float32Array(3 * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < k; j++) weights[i * k + j] = arrays.coefficients[j * n + i];
      for (let j = 0; arrays.head && j < 3; j++) head[3 * i + j] = arrays.head[j * n + i];
    }
    this._blocks.push({ start: this.nFrames, n, k, weights, head, basis: this._basis });
    this.nFrames += n;
  }

  /** The block that contains a frame. */
  _blockOf(frame) {
    let low = 0;
    let high = this._blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this._blocks[middle].start <= frame) low = middle;
      else high = middle - 1;
    }
    return this._blocks[low];
  }

  /** The two frames next to a position, and the weight of the second one. */
  _around(position) {
    const last = this.nFrames - 1;
    const inside = Math.min(Math.max(position, 0), last);
    const first = Math.floor(inside);
    return [first, Math.min(first + 1, last), inside - first];
  }

  /**
   * Writes the vertices at a position, in frames, into a Float32Array (V, 3).
   *
   * A whole number is a frame; other positions are interpolated. The rotation of the head is not
   * included, see `head`.
   */
  write(position, out) {
    out.set(this.template);
    if (!this.nFrames) return out;
    const [first, second, share] = this._around(position);
    const parts = share > 0 ? [[first, 1 - share], [second, share]] : [[first, 1]];
    const bases = new Set(parts.map(([frame]) => this._blockOf(frame).basis));
    for (const { weights } of bases) weights.fill(0);
    for (const [frame, part] of parts) this._gather(frame, part);
    for (const basis of bases) {
      const used = [];
      for (let k = 0; k < basis.weights.length; k++) if (basis.weights[k] !== 0) used.push(k);
      for (let i = 0; i < used.length; i += 4) addVectors(basis, used.slice(i, i + 4), out);
    }
    return out;
  }

  _gather(frame, share) {
    const { start, k, weights, basis } = this._blockOf(frame);
    const at = (frame - start) * k;
    for (let j = 0; j < k; j++) basis.weights[j] += share * weights[at + j];
  }

  /** Returns [yaw, pitch, roll] of the head in radians at a position in frames. */
  head(position) {
    if (!this.nFrames) return [0, 0, 0];
    const [first, second, share] = this._around(position);
    const [a, b] = [first, second].map((frame) => {
      const { start, head } = this._blockOf(frame);
      return head.subarray(3 * (frame - start), 3 * (frame - start) + 3);
    });
    return [0, 1, 2].map((axis) => a[axis] * (1 - share) + b[axis] * share);
  }

  /** Whether the mesh has inner lips, so that `lipGaps` can be used. */
  get hasLips() {
    return Boolean(this._lips[0]?.length && this._lips[1]?.length);
  }

  /** The unit of `lipGaps`: 'mm', or 'units' if the length of a mesh unit is unknown. */
  get unit() {
    return this._millimeters === null ? 'units' : 'mm';
  }

  /**
   * Returns the lip gap of each frame from `start` on, in `unit`: the mean height of the upper inner
   * lip above the lower one, as in `--curves`.
   */
  lipGaps(start = 0) {
    const gaps = new Float32Array(Math.max(0, this.nFrames - start));
    const neutral = this._meanGap(this.template);
    for (let i = 0; i < gaps.length; i++) {
      const block = this._blockOf(start + i);
      const at = (start + i - block.start) * block.k;
      let gap = neutral;
      for (let j = 0; j < block.k; j++) gap += block.weights[at + j] * block.basis.gaps[j];
      gaps[i] = gap * (this._millimeters ?? 1);
    }
    return gaps;
  }

  _meanGap(vertices) {
    const [upper, lower] = this._lips.map((lip) => {
      let sum = 0;
      for (const v of lip) sum += vertices[3 * v + 1];
      return sum / lip.length;
    });
    return upper - lower;
  }
}

/** Adds up to four weighted vectors at once, which reads and writes `out` less often. */
function addVectors({ vectors, weights }, numbers, out) {
  const weight = numbers.map((k) => weights[k]);
  const vector = numbers.map((k) => vectors[k]);
  if (numbers.length === 4) {
    const [a, b, c, d] = vector;
    const [p, q, r, s] = weight;
    for (let i = 0; i < out.length; i++) out[i] += p * a[i] + q * b[i] + r * c[i] + s * d[i];
    return;
  }
  for (let k = 0; k < vector.length; k++) {
    const [a, p] = [vector[k], weight[k]];
    for (let i = 0; i < out.length; i++) out[i] += p * a[i];
  }
}
