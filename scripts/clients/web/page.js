// Runs in the browser: opens exported files with three.js and reports what it finds.

import * as THREE from 'three';
import { RoomEnvironment } from 'three/addons/environments/RoomEnvironment.js';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { MDDLoader } from 'three/addons/loaders/MDDLoader.js';
import { OBJLoader } from 'three/addons/loaders/OBJLoader.js';
import { USDLoader } from 'three/addons/loaders/USDLoader.js';
import { VRMExpression, VRMExpressionManager, VRMHumanoid, VRMLookAt } from '@pixiv/three-vrm';
import {
  VRMAnimationLoaderPlugin, VRMLookAtQuaternionProxy, createVRMAnimationClip,
} from '@pixiv/three-vrm-animation';

const BACKGROUND = 0xd9dde2;

function meshesOf(root) {
  const meshes = [];
  root.traverse((object) => object.isMesh && meshes.push(object));
  return meshes;
}

/** The positions in the world, with morph targets applied as on the graphics card. */
function vertices(mesh) {
  const point = new THREE.Vector3();
  const count = mesh.geometry.attributes.position.count;
  const positions = new Array(3 * count);
  for (let i = 0; i < count; i++) {
    mesh.localToWorld(mesh.getVertexPosition(i, point)).toArray(positions, 3 * i);
  }
  return positions;
}

/** Plays a clip at some times. Returns the positions of the first mesh and the node's rotation. */
function play(root, clip, times) {
  const meshes = meshesOf(root);
  const mixer = new THREE.AnimationMixer(root);
  const action = mixer.clipAction(clip);
  action.setLoop(THREE.LoopOnce).clampWhenFinished = true;
  action.play();
  return times.map((time) => {
    mixer.setTime(time);
    root.updateMatrixWorld(true);
    const weights = Array.from(meshes[0].morphTargetInfluences ?? []);
    const equal = meshes.every((mesh) =>
      weights.every((weight, k) => mesh.morphTargetInfluences[k] === weight));
    const turned = meshes[0].getWorldQuaternion(new THREE.Quaternion()).toArray();
    return { positions: vertices(meshes[0]), weights, equal, turned };
  });
}

let picture = null; // the scene of the last .glb

window.openGlb = async (url, times) => {
  const gltf = await new GLTFLoader().loadAsync(url);
  const clip = gltf.animations[0];
  const meshes = meshesOf(gltf.scene);
  const names = Object.entries(meshes[0].morphTargetDictionary).sort((a, b) => a[1] - b[1]);
  picture = { root: gltf.scene, clip };
  return {
    names: names.map(([name]) => name),
    materials: meshes.map((mesh) => mesh.material.name),
    duration: clip.duration,
    frames: play(gltf.scene, clip, times),
  };
};

/** An avatar without a mesh: three bones, some expressions and eyes. */
function avatar(names) {
  const scene = new THREE.Group();
  const nodes = {};
  let parent = scene;
  for (const [name, height] of [['hips', 1], ['spine', 0.1], ['head', 0.5]]) {
    nodes[name] = { node: new THREE.Object3D() };
    nodes[name].node.name = name;
    nodes[name].node.position.y = height;
    parent.add(nodes[name].node);
    parent = nodes[name].node;
  }
  const humanoid = new VRMHumanoid(nodes);
  const expressionManager = new VRMExpressionManager();
  for (const name of names) {
    const expression = new VRMExpression(name);
    scene.add(expression);
    expressionManager.registerExpression(expression);
  }
  const lookAt = new VRMLookAt(humanoid, { applyYawPitch() {}, lookAt() {} });
  const gaze = new VRMLookAtQuaternionProxy(lookAt);
  gaze.name = 'gaze of the avatar';
  scene.add(humanoid.normalizedHumanBonesRoot, gaze);
  return { scene, humanoid, expressionManager, lookAt, meta: { metaVersion: '1' } };
}

window.openVrma = async (url, times) => {
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMAnimationLoaderPlugin(parser));
  const gltf = await loader.loadAsync(url);
  const animation = gltf.userData.vrmAnimations[0];
  const { preset, custom } = animation.expressionTracks;
  const vrm = avatar([...preset.keys(), ...custom.keys()]);
  const mixer = new THREE.AnimationMixer(vrm.scene);
  const action = mixer.clipAction(createVRMAnimationClip(animation, vrm));
  action.setLoop(THREE.LoopOnce).clampWhenFinished = true;
  action.play();
  const frames = times.map((time) => {
    mixer.setTime(time);
    const { expressionMap } = vrm.expressionManager;
    return {
      weights: Object.fromEntries(Object.entries(expressionMap).map(([k, e]) => [k, e.weight])),
      head: vrm.humanoid.getNormalizedBoneNode('head').quaternion.toArray(),
      gaze: [vrm.lookAt.yaw, vrm.lookAt.pitch],
    };
  });
  return {
    duration: animation.duration,
    preset: [...preset.keys()],
    custom: [...custom.keys()],
    restHips: animation.restHipsPosition.toArray(),
    frames,
  };
};

window.openMdd = async (mddUrl, objUrl, frames) => {
  const { morphTargets, clip } = await new MDDLoader().loadAsync(mddUrl);
  const mesh = meshesOf(await new OBJLoader().loadAsync(objUrl))[0];
  return {
    duration: clip.duration,
    n_frames: morphTargets.length,
    n_vertices: morphTargets[0].count,
    corners: mesh.geometry.attributes.position.count,
    frames: frames.map((k) => ({ positions: Array.from(morphTargets[k].array) })),
  };
};

window.openUsd = async (url) => {
  const root = await new USDLoader().loadAsync(url);
  const meshes = meshesOf(root);
  const box = new THREE.Box3().setFromObject(root);
  return {
    meshes: meshes.map((mesh) => mesh.name),
    size: box.getSize(new THREE.Vector3()).toArray(),
  };
};

/** Draws the last .glb at a time, as a viewer does: image-based light and one lamp. */
window.drawGlb = async (time, width, height) => {
  const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  renderer.setSize(width, height);
  renderer.toneMapping = THREE.NeutralToneMapping;
  document.body.replaceChildren(renderer.domElement);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(BACKGROUND);
  const maker = new THREE.PMREMGenerator(renderer);
  scene.environment = maker.fromScene(new RoomEnvironment(), 0.04).texture;
  scene.environmentIntensity = 0.6;
  const lamp = new THREE.DirectionalLight(0xfff4e8, 1.6);
  lamp.position.set(-0.6, 0.7, 1);
  scene.add(lamp, picture.root);

  // The box that three.js computes contains every possible combination of the targets.
  const [{ positions }] = play(picture.root, picture.clip, [time]);
  const box = new THREE.Box3().setFromArray(positions);
  const size = box.getSize(new THREE.Vector3());
  const center = box.getCenter(new THREE.Vector3());
  const camera = new THREE.PerspectiveCamera(22, width / height, 0.01 * size.y, 100 * size.y);
  camera.position.set(center.x + 0.9 * size.y, center.y + 0.1 * size.y, center.z + 2.6 * size.y);
  camera.lookAt(center);
  renderer.render(scene, camera);
  const url = renderer.domElement.toDataURL('image/png');
  renderer.dispose();
  return url;
};

window.ready = true;
