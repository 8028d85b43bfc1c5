// The look of a face: the lamps, skin and heat colors of the video renderer (light.py, heat.py) as a
// WebGL shader. All lamps are fixed to the camera.

import { DoubleSide, ShaderMaterial, Vector3 } from 'three';

const VERTEX = `
attribute vec3 albedo;
attribute vec4 surface; // occlusion, strength and exponent of the highlight, skin
attribute float heat;
varying vec3 vAlbedo;
varying vec4 vSurface;
varying float vHeat;
varying vec3 vNormal;
varying vec3 vView;
void main() {
  vec4 view = modelViewMatrix * vec4(position, 1.0);
  vAlbedo = albedo;
  vSurface = surface;
  vHeat = heat;
  vNormal = normalMatrix * normal;
  vView = view.xyz;
  gl_Position = projectionMatrix * view;
}`;

const FRAGMENT = `
uniform bool heated;
uniform vec3 stops[6];
varying vec3 vAlbedo;
varying vec4 vSurface;
varying float vHeat;
varying vec3 vNormal;
varying vec3 vView;

vec3 toLinear(vec3 c) {
  return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c));
}
vec3 toScreen(vec3 c) {
  c = clamp(c, 0.0, 1.0);
  return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
}
vec3 heatColor(float value) {
  float at = clamp(value, 0.0, 1.0) * 5.0;
  vec3 color = stops[0];
  for (int i = 1; i < 6; i++) color = mix(color, stops[i], clamp(at - float(i - 1), 0.0, 1.0));
  return color;
}
void lamp(vec3 to, vec3 color, float wrap, vec3 n, vec3 eye, inout vec3 light, inout float shine) {
  float occlusion = clamp(vSurface.x, 0.0, 1.0);
  float cosine = dot(n, to);
  float hard = max(cosine, 0.0);
  float soft = pow(max((cosine + wrap) / (1.0 + wrap), 0.0), 1.5);
  vec3 scattered = max(soft - hard, 0.0) * vec3(1.35, 0.95, 0.80);
  light += color * (vec3(min(soft, hard)) + scattered) * sqrt(occlusion);
  float alignment = max(dot(n, normalize(eye + to)), 0.0);
  shine += pow(alignment, max(vSurface.z, 1.0)) * vSurface.y * step(0.0001, hard) * color.y;
}
void main() {
  // With anti-aliasing, values may be extrapolated beyond a triangle, where a power has no result.
  vec3 skin = toLinear(clamp(vAlbedo, 0.0, 1.0));
  vec3 base = skin;
  if (heated) {
    float weight = max(clamp(vSurface.w, 0.0, 1.0), clamp(vHeat / 0.25, 0.0, 1.0));
    base = mix(skin, toLinear(heatColor(vHeat)), weight);
  }
  vec3 n = normalize(vNormal);
  vec3 eye = normalize(-vView);
  // The inner side. gl_FrontFacing is wrong in slivers, whose corners have the right normals.
  if (dot(n, eye) < -0.2) {
    gl_FragColor = vec4(sqrt(vec3(0.16, 0.10, 0.09) * sqrt(skin)), 1.0);
    return;
  }
  float occlusion = clamp(vSurface.x, 0.0, 1.0);
  vec3 sky = mix(vec3(0.20, 0.16, 0.14), vec3(0.40, 0.43, 0.48), 0.5 + 0.5 * n.y);
  vec3 light = sky * occlusion + vec3(0.085, 0.032, 0.026) * (1.0 - occlusion);
  float shine = 0.0;
  lamp(normalize(vec3(-0.55, 0.55, 0.75)), vec3(1.62, 1.50, 1.36), 0.18, n, eye, light, shine);
  lamp(normalize(vec3(0.80, 0.10, 0.55)), vec3(0.34, 0.40, 0.48), 0.40, n, eye, light, shine);
  float edge = pow(1.0 - max(dot(n, eye), 0.0), 3.0);
  float rim = max(dot(n, normalize(vec3(0.75, 0.45, -0.60))), 0.0) * edge * occlusion;
  vec3 color = base * (light + rim * vec3(0.75, 0.85, 1.00)) + shine * occlusion;
  color = color * (1.0 + color / 6.76) / (1.0 + color);
  gl_FragColor = vec4(toScreen(color), 1.0);
}`;

/** The colors of heat maps at equal steps from 0 to 1, as in heat.py. */
export const HEAT_COLORS = ['#8ea4bc', '#b6bfae', '#f3da5e', '#f29e38', '#df4f27', '#a80f24'];

const stops = HEAT_COLORS.map((color) =>
  new Vector3(...[1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255)));

/** Returns the material of a face; `heated` shows the attribute `heat` (0 to 1) as colors. */
export function skinMaterial({ heated = false } = {}) {
  return new ShaderMaterial({
    vertexShader: VERTEX,
    fragmentShader: FRAGMENT,
    side: DoubleSide,
    uniforms: { heated: { value: heated }, stops: { value: stops } },
  });
}
