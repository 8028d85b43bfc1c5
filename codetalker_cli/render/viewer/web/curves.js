// Draws the waveform and the lip gaps over time with a cursor, as a slider: a click, a drag and keys
// move it.

/** Seconds that are visible at once; a longer recording scrolls past the cursor. */
const WINDOW_SECONDS = 10;
const COLORS = 6; // the style sheet defines --curve-0 to --curve-5
const MIN_RANGE_MM = 10;

/** Events: "seek" with `detail` in seconds. */
export class Curves extends EventTarget {
  /**
   * @param {HTMLElement} container Gets a canvas, which fills it.
   * @param {object} options
   *   `seconds`: the length; `fps`: frames a second of the lines;
   *   `peaks`: Float32Array of the largest samples (0 to 1) at `peaksPerSecond`, or null;
   *   `lines`: [{label, values, unit, times?}] lip gaps, NaN where they are unknown; `unit`: of the
   *   values, lines of the same unit share a scale; `times` in seconds, default k / fps;
   *   `label`: what a screen reader calls the slider.
   */
  constructor(container, {
    seconds, fps, peaks = null, peaksPerSecond = 100, lines = [], label = 'Time',
  }) {
    super();
    Object.assign(this, { seconds, fps, peaks, peaksPerSecond, lines });
    this.time = 0;
    this.canvas = document.createElement('canvas');
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'slider');
    this.canvas.setAttribute('aria-label', label);
    container.append(this.canvas);
    this._container = container;
    this._curves = document.createElement('canvas'); // everything but the cursor
    this._drawnFrom = null;
    this._listen();
    this._observer = new ResizeObserver(() => this.redraw());
    this._observer.observe(container);
    this._scheme = window.matchMedia('(prefers-color-scheme: dark)');
    this._redraw = () => this.redraw();
    this._scheme.addEventListener('change', this._redraw);
  }

  _listen() {
    const canvas = this.canvas;
    const seek = (event) => {
      const box = canvas.getBoundingClientRect();
      const [start, length] = this._dragged ?? this._visible();
      const share = (event.clientX - box.left) / box.width;
      this._seek(start + Math.max(0, Math.min(1, share)) * length);
    };
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this._dragged = this._visible();
      seek(event);
    });
    canvas.addEventListener('pointermove', (event) => this._dragged && seek(event));
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, () => {
        this._dragged = null;
        this.redraw();
      });
    }
    canvas.addEventListener('keydown', (event) => this._onKey(event));
  }

  _onKey(event) {
    const frame = 1 / this.fps;
    const goals = {
      ArrowLeft: this.time - frame, ArrowDown: this.time - frame,
      ArrowRight: this.time + frame, ArrowUp: this.time + frame,
      PageDown: this.time - 1, PageUp: this.time + 1, Home: 0, End: this.seconds,
    };
    if (!(event.key in goals) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this._seek(goals[event.key]);
  }

  _seek(seconds) {
    const detail = Math.max(0, Math.min(this.seconds, seconds));
    this.dispatchEvent(new CustomEvent('seek', { detail }));
  }

  /** Takes a longer recording, or other lines. */
  update(changes) {
    Object.assign(this, changes);
    this.redraw();
  }

  /** Moves the cursor to a time in seconds; `playing` describes it for screen readers less often. */
  set(time, playing = false) {
    this.time = time;
    this._playing = playing;
    this._draw();
  }

  redraw() {
    this._drawnFrom = null;
    this._draw();
  }

  dispose() {
    this._observer.disconnect();
    this._scheme.removeEventListener('change', this._redraw);
    this.canvas.remove();
  }

  /** The first visible second and the number of visible seconds. */
  _visible() {
    if (this._dragged) return this._dragged;
    const length = Math.min(this.seconds, WINDOW_SECONDS) || 1;
    const start = Math.max(0, Math.min(this.time - length / 2, this.seconds - length));
    return [start, length];
  }

  /** Describes the position, while playing once a second: screen readers may read each change. */
  _describe() {
    const canvas = this.canvas;
    const second = this._playing ? Math.floor(this.time) : null;
    if (second !== null && second === this._describedSecond) return;
    this._describedSecond = second;
    canvas.setAttribute('aria-valuemin', '0');
    canvas.setAttribute('aria-valuemax', this.seconds.toFixed(2));
    canvas.setAttribute('aria-valuenow', this.time.toFixed(2));
    const of = `${this.time.toFixed(2)} of ${this.seconds.toFixed(2)} seconds`;
    canvas.setAttribute('aria-valuetext', of);
  }

  _draw() {
    const { clientWidth, clientHeight } = this._container;
    if (!clientWidth || !clientHeight) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      for (const canvas of [this.canvas, this._curves]) Object.assign(canvas, { width, height });
      this._drawnFrom = null;
    }
    this._describe();
    const [start, length] = this._visible();
    if (this._drawnFrom !== start) this._drawCurves(start, length, ratio);
    this._drawnFrom = start;
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    context.drawImage(this._curves, 0, 0);
    const x = ((this.time - start) / length) * width;
    context.fillStyle = this._color('--ink');
    context.fillRect(x - ratio / 2, 0, ratio, height);
  }

  _color(name) {
    return getComputedStyle(this._container).getPropertyValue(name).trim() || '#808080';
  }

  _drawCurves(start, length, ratio) {
    const { width, height } = this._curves;
    const context = this._curves.getContext('2d');
    context.clearRect(0, 0, width, height);
    const half = this.lines.length ? height / 2 : height;
    if (this.peaks) this._drawWave(context, start, length, width, half);
    if (!this.lines.length) return;
    const top = this.peaks ? half : 0;
    const box = { top: top + 2 * ratio, bottom: height - 3 * ratio, width };
    const ranges = this._ranges();
    this._drawScale(context, box, ranges, ratio);
    this.lines.forEach((line, number) => {
      context.strokeStyle = this._color(`--curve-${number % COLORS}`);
      context.lineWidth = 1.5 * ratio;
      this._drawLine(context, line, start, length, box, ranges.get(line.unit));
    });
  }

  _drawWave(context, start, length, width, height) {
    context.fillStyle = this._color('--wave');
    const rate = this.peaksPerSecond;
    const last = this.peaks.length - 1;
    for (let x = 0; x < width; x++) {
      const from = Math.floor((start + (x / width) * length) * rate);
      const to = Math.floor((start + ((x + 1) / width) * length) * rate);
      let peak = 0;
      for (let i = from; i <= Math.min(to, last); i++) peak = Math.max(peak, this.peaks[i]);
      const size = Math.max(1, peak * height * 0.9);
      context.fillRect(x, (height - size) / 2, 1, size);
    }
  }

  /** Returns unit → [low, high], the ends of its scale. The zeros of all units are at one height. */
  _ranges() {
    const ranges = new Map();
    for (const { values, unit } of this.lines) {
      let [low, high] = ranges.get(unit) ?? [0, 0];
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      ranges.set(unit, [low, high]);
    }
    for (const [unit, [low, high]] of ranges) {
      ranges.set(unit, [low, unit === 'mm' ? Math.max(high, low + MIN_RANGE_MM, 1) : high || 1]);
    }
    const share = Math.max(...[...ranges.values()].map(([low, high]) => -low / (high - low)));
    for (const [unit, [, high]] of ranges) {
      ranges.set(unit, [(-share * high) / (1 - share), high]);
    }
    return ranges;
  }

  /** Draws a line at zero, and writes the upper ends. */
  _drawScale(context, { top, bottom, width }, ranges, ratio) {
    context.fillStyle = this._color('--frame');
    const [low, high] = ranges.values().next().value;
    const zero = bottom - ((0 - low) / (high - low)) * (bottom - top);
    context.fillRect(0, zero, width, ratio);
    context.fillStyle = this._color('--muted');
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textBaseline = 'top';
    const limits = [...ranges].map(([unit, [, most]]) => `${most.toPrecision(2)} ${unit}`);
    context.fillText(`lip gap, up to ${limits.join(' or ')}`, 4 * ratio, top);
  }

  _drawLine(context, { values, times }, start, length, { top, bottom, width }, [low, high]) {
    const first = times ? 0 : Math.max(0, Math.floor(start * this.fps) - 1);
    const stop = times ? values.length
      : Math.min(values.length, Math.ceil((start + length) * this.fps) + 2);
    let pen = false;
    context.beginPath();
    for (let k = first; k < stop; k++) {
      const time = times ? times[k] : k / this.fps;
      const x = ((time - start) / length) * width;
      const y = bottom - ((values[k] - low) / (high - low)) * (bottom - top);
      const known = Number.isFinite(y);
      if (known && pen) context.lineTo(x, y);
      else if (known) context.moveTo(x, y);
      pen = known;
    }
    context.stroke();
  }
}
