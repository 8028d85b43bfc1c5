// Draws a character with its animation, at the time of the sound.

import {
  AnimationMixer, Box3, DirectionalLight, HemisphereLight, PerspectiveCamera, Scene, Vector3,
  WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';

const FIELD_OF_VIEW = 30;
const HEAD = /head|neck/i;

/** A character in a canvas. */
export class CharacterView {
  /** Returns a view of the content of a .glb file. */
  static async of(container, content, label) {
    const gltf = await new GLTFLoader().parseAsync(content, '');
    return new CharacterView(container, gltf, label);
  }

  constructor(container, gltf, label) {
    this.renderer = new WebGLRenderer({ alpha: true, antialias: true });
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', label);
    container.replaceChildren(this.canvas);
    this._container = container;
    this.scene = new Scene();
    const sun = new DirectionalLight(0xffffff, 2);
    sun.position.set(0.5, 1, 1.5);
    this.scene.add(new HemisphereLight(0xffffff, 0x8a8f99, 1.6), sun, gltf.scene);
    // The avatars of VRM 0 look backward.
    if (gltf.parser.json.extensionsUsed?.includes('VRM')) gltf.scene.rotation.y = Math.PI;
    this.mixer = new AnimationMixer(gltf.scene);
    const speech = gltf.animations.at(-1); // the exporter adds it after the others
    if (speech) this.mixer.clipAction(speech).play();
    this.root = gltf.scene;
    this._makeCamera();
    this._observer = new ResizeObserver(() => this._resize());
    this._observer.observe(container);
    this._resize();
  }

  _makeCamera() {
    this.scene.updateMatrixWorld(true);
    const box = this._box();
    const center = box.getCenter(new Vector3());
    const size = box.getSize(new Vector3());
    const height = Math.max(size.y, 0.8 * size.x, 1e-3);
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, height / 100, height * 100);
    const distance = (0.55 * height) / Math.tan((FIELD_OF_VIEW / 2) * (Math.PI / 180));
    this.camera.position.set(center.x, center.y, center.z + size.z / 4 + distance);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.target.copy(center);
    this.controls.update();
    this.controls.addEventListener('change', () => this.draw());
  }

  /** The box of the head: above the neck if there is a bone for it, or all that has morph targets. */
  _box() {
    const whole = new Box3().setFromObject(this.root);
    let bone = null;
    this.root.traverse((node) => {
      if (!bone && node.isBone && HEAD.test(node.name)) bone = node;
    });
    if (!bone) return this._morphed() ?? whole;
    const at = bone.getWorldPosition(new Vector3());
    const half = Math.max(whole.max.y - at.y, 0.04 * (whole.max.y - whole.min.y));
    const middle = (at.y + whole.max.y) / 2;
    return new Box3(
      new Vector3(at.x - half, middle - half * 0.75, at.z - half),
      new Vector3(at.x + half, middle + half * 0.75, at.z + half),
    );
  }

  _morphed() {
    const box = new Box3();
    this.root.traverse((node) => {
      if (node.isMesh && node.morphTargetInfluences?.length) box.expandByObject(node);
    });
    return box.isEmpty() ? null : box;
  }

  _resize() {
    const { clientWidth: width, clientHeight: height } = this._container;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  /** Shows the animation at a time in seconds. */
  set(seconds) {
    this.mixer.setTime(Math.max(0, seconds));
    this.draw();
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
  }

  /** Frees the graphics memory. */
  dispose() {
    this._observer.disconnect();
    this.controls.dispose();
    this.mixer.stopAllAction();
    this.root.traverse((node) => {
      node.geometry?.dispose();
      for (const material of [node.material].flat()) material?.dispose?.();
    });
    this.renderer.dispose();
    this.canvas.remove();
  }
}
