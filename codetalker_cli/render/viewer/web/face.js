// Draws one face with three.js in a canvas of its own: positions, head rotation, heat colors,
// wireframe, orbit, zoom and fixed views. It draws only when `draw` is called.

import {
  BufferAttribute, BufferGeometry, Group, Mesh, MeshBasicMaterial,
  PerspectiveCamera, Scene, Vector3, WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import { FIELD_OF_VIEW, VIEWS, frame } from './framing.js';
import { writeNormals } from './normals.js';
import { skinMaterial } from './skin.js';

const LINES = '#1d232b';
const [TURN, ZOOM] = [Math.PI / 24, 1.15]; // of one key press
const MAX_PIXEL_RATIO = 2;
let nDescribed = 0; // for ids

/** Whether this browser can draw faces. */
export function canDraw() {
  try {
    const context = document.createElement('canvas').getContext('webgl2');
    context?.getExtension('WEBGL_lose_context')?.loseContext();
    return Boolean(context);
  } catch {
    return false;
  }
}

/** A face in a canvas. Events: "camera" after the user has moved the camera. */
export class FaceView extends EventTarget {
  /**
   * @param {HTMLElement} container Gets the canvas, which fills it.
   * @param {{header: object, arrays: object}} face A packet of kind "face".
   * @param {{heated?: boolean, label?: string}} options `heated` shows `setHeat` instead of the
   *   colors of the face; `label` is what a screen reader calls the canvas.
   */
  constructor(container, face, { heated = false, label = 'Face' } = {}) {
    super();
    this.vertices = Float32Array.from(face.arrays.template);
    this.pivot = face.header.pivot;
    this._template = face.arrays.template;
    this._triangles = Uint32Array.from(face.arrays.triangles);
    this._shown = { head: new Set(this._triangles), mouth: face.arrays.mouth };
    this._makeCanvas(container, label);
    this._makeScene(face, heated);
    this._makeCamera();
    this.setView('front');
    this._observer = new ResizeObserver(() => this._resize());
    this._observer.observe(container);
  }

  _makeCanvas(container, label) {
    // Transparent, so that the page's background shows, in a dark as in a light theme.
    this.renderer = new WebGLRenderer({ alpha: true, antialias: true });
    this.renderer.setPixelRatio(Math.min(MAX_PIXEL_RATIO, window.devicePixelRatio || 1));
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    // Its own keys reach it only if screen readers do not use them, as in an application.
    this.canvas.setAttribute('role', 'application');
    this.canvas.setAttribute('aria-label', label);
    this._describeKeys();
    container.append(this.canvas);
    this._container = container;
    this.canvas.addEventListener('webglcontextrestored', () => this.draw());
  }

  _describeKeys() {
    const description = document.createElement('span');
    Object.assign(description, { id: `face-keys-${++nDescribed}`, hidden: true });
    description.textContent = 'A picture. The arrow keys turn it; plus and minus zoom.';
    this.canvas.append(description);
    this.canvas.setAttribute('aria-describedby', description.id);
  }

  _makeScene({ arrays }, heated) {
    const count = this.vertices.length / 3;
    const geometry = new BufferGeometry();
    const attribute = (name, values, size, normalized = false) =>
      geometry.setAttribute(name, new BufferAttribute(values, size, normalized));
    this._normals = new Float32Array(3 * count);
    this._heat = new Float32Array(count);
    geometry.setIndex(new BufferAttribute(this._triangles, 1));
    attribute('position', this.vertices, 3);
    attribute('normal', this._normals, 3);
    attribute('heat', this._heat, 1);
    attribute('albedo', (heated && arrays.clay) || arrays.colors, 3, true);
    attribute('surface', surfaceOf(arrays, count), 4);
    this._geometry = geometry;
    this.mesh = new Mesh(geometry, skinMaterial({ heated }));
    this.mesh.frustumCulled = false; // its bounds would have to follow the motion
    this._lines = new Mesh(geometry, new MeshBasicMaterial({
      color: LINES, wireframe: true, polygonOffset: true, polygonOffsetFactor: -1,
    }));
    this._lines.frustumCulled = false;
    this._lines.visible = false;
    this._head = new Group();
    this._head.add(this.mesh, this._lines);
    this._head.rotation.order = 'YXZ';
    this._scene = new Scene();
    this._scene.add(this._head);
    this.setVertices(this.vertices);
  }

  _makeCamera() {
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 1, 10);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.enablePan = true;
    this.controls.addEventListener('change', () => {
      if (this._silent) return;
      this.draw();
      this.dispatchEvent(new Event('camera'));
    });
    this.canvas.addEventListener('keydown', (event) => this._onKey(event));
    const { target, distance } = frame(this._template, this._shown.head, VIEWS.front, 1);
    this.controls.minDistance = 0.05 * distance;
    this.controls.maxDistance = 6 * distance;
    this._middle = new Vector3(...target);
    this._radius = 0.35 * distance; // about one height of the head
  }

  /** Whether `setView('mouth')` is possible. */
  get hasMouth() {
    return Boolean(this._shown.mouth?.length);
  }

  /** Shows one of the VIEWS; 'mouth' is 'front' for a mesh whose mouth is not known. */
  setView(name) {
    const points = name === 'mouth' && this.hasMouth ? this._shown.mouth : this._shown.head;
    this._view = name;
    this.setCamera(frame(this._template, points, VIEWS[name], this._aspect()));
    this._touched = false;
  }

  /** The camera as { eye, target }, to be given to `setCamera` of another view. */
  getCamera() {
    return { eye: this.camera.position.toArray(), target: this.controls.target.toArray() };
  }

  setCamera({ eye, target }) {
    this._silent = true;
    this.camera.position.fromArray(eye);
    this.controls.target.fromArray(target);
    this.controls.update();
    this._silent = false;
    this._touched = true;
    this.draw();
  }

  /** Turns the camera around the face by angles in radians, and moves it closer by a factor. */
  orbit(left, up, closer = 1) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const [yaw, pitch] = [Math.atan2(offset.x, offset.z), Math.asin(offset.y / offset.length())];
    const limit = 1.5;
    const [a, b] = [yaw + left, Math.max(-limit, Math.min(limit, pitch + up))];
    const distance = Math.max(this.controls.minDistance,
      Math.min(this.controls.maxDistance, offset.length() / closer));
    const direction = new Vector3(Math.sin(a) * Math.cos(b), Math.sin(b), Math.cos(a) * Math.cos(b));
    const eye = direction.multiplyScalar(distance).add(this.controls.target).toArray();
    this.setCamera({ eye, target: this.controls.target.toArray() });
    this.dispatchEvent(new Event('camera'));
  }

  /** Takes (V, 3) positions; they may be `this.vertices`, changed in place. */
  setVertices(vertices) {
    if (vertices !== this.vertices) this.vertices.set(vertices);
    writeNormals(this.vertices, this._triangles, this._normals);
    this._geometry.attributes.position.needsUpdate = true;
    this._geometry.attributes.normal.needsUpdate = true;
  }

  /** Takes [yaw, pitch, roll] of the head in radians, about the neck. */
  setHead([yaw, pitch, roll]) {
    this._head.rotation.set(pitch, yaw, -roll);
    const pivot = new Vector3(...this.pivot);
    this._head.position.copy(pivot).sub(pivot.clone().applyEuler(this._head.rotation));
  }

  /** Shows the distance of each vertex from (V, 3) other positions; `maximum` is the hottest. */
  setHeat(other, maximum) {
    const [own, heat] = [this.vertices, this._heat];
    for (let v = 0, i = 0; v < heat.length; v++, i += 3) {
      const [x, y, z] = [own[i] - other[i], own[i + 1] - other[i + 1], own[i + 2] - other[i + 2]];
      heat[v] = Math.sqrt(x * x + y * y + z * z) / maximum;
    }
    this._geometry.attributes.heat.needsUpdate = true;
  }

  setWireframe(visible) {
    this._lines.visible = visible;
    this.draw();
  }

  draw() {
    const distance = this.camera.position.distanceTo(this._middle);
    // Near and far planes close to the face give the depth buffer its highest precision.
    this.camera.near = Math.max(distance - this._radius, distance / 100);
    this.camera.far = distance + this._radius;
    this.camera.updateProjectionMatrix();
    this.renderer.render(this._scene, this.camera);
  }

  dispose() {
    this._observer.disconnect();
    this.controls.dispose();
    this._geometry.dispose();
    this.mesh.material.dispose();
    this._lines.material.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    this.canvas.remove();
  }

  _aspect() {
    const { clientWidth, clientHeight } = this._container;
    return clientWidth && clientHeight ? clientWidth / clientHeight : 1;
  }

  _resize() {
    const { clientWidth, clientHeight } = this._container;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setSize(clientWidth, clientHeight);
    this.camera.aspect = clientWidth / clientHeight;
    if (!this._touched) this.setView(this._view);
    this.draw();
  }

  _onKey(event) {
    const moves = {
      ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, TURN], ArrowDown: [0, -TURN],
      '+': [0, 0, ZOOM], '=': [0, 0, ZOOM], '-': [0, 0, 1 / ZOOM],
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.orbit(...move);
  }
}

/** Moves the cameras of all views together. */
export function linkCameras(views) {
  for (const view of views) {
    view.addEventListener('camera', () => {
      const camera = view.getCamera();
      for (const other of views) if (other !== view) other.setCamera(camera);
    });
  }
}

/** Returns (V, 4): occlusion, strength and exponent of the highlight, and whether it is skin. */
function surfaceOf({ occlusion, gloss, skin }, count) {
  const surface = new Float32Array(4 * count);
  for (let v = 0; v < count; v++) {
    surface[4 * v] = occlusion[v] / 255;
    surface[4 * v + 1] = gloss[2 * v] / 255;
    surface[4 * v + 2] = gloss[2 * v + 1];
    surface[4 * v + 3] = skin[v];
  }
  return surface;
}
