// Where a camera must be to show some points, as in the video renderer (scene.py).

/** The vertical field of view in degrees, of a portrait lens. */
export const FIELD_OF_VIEW = 18;
/** Views: yaw and pitch of the camera in degrees, and the margin on each side. */
export const VIEWS = {
  front: [0, 0, 0.07],
  'three-quarter': [35, 4, 0.07],
  profile: [90, 0, 0.07],
  mouth: [0, 0, 0.28],
};

/**
 * Returns the camera that shows all points as large as the margin allows: { eye, target, distance }.
 *
 * @param {Float32Array} vertices (V, 3)
 * @param {ArrayLike<number>} points Numbers of the vertices to show.
 * @param {number[]} view Yaw, pitch and margin, see VIEWS.
 * @param {number} aspect Width of the picture divided by its height.
 */
export function frame(vertices, points, [yaw, pitch, margin], aspect) {
  const [a, b] = [yaw, pitch].map((degrees) => (degrees * Math.PI) / 180);
  const back = [Math.cos(b) * Math.sin(a), Math.sin(b), Math.cos(b) * Math.cos(a)];
  const right = [Math.cos(a), 0, -Math.sin(a)];
  const up = [
    back[1] * right[2] - back[2] * right[1],
    back[2] * right[0] - back[0] * right[2],
    back[0] * right[1] - back[1] * right[0],
  ];
  const axes = [right, up, back];
  const project = (v, axis) =>
    axis[0] * vertices[3 * v] + axis[1] * vertices[3 * v + 1] + axis[2] * vertices[3 * v + 2];
  const middle = axes.map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (const v of points) {
      const x = project(v, axis);
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
    return (low + high) / 2;
  });
  const extent = Math.tan((FIELD_OF_VIEW * Math.PI) / 360) * (1 - 2 * margin);
  let distance = 0;
  for (const v of points) {
    const [x, y, z] = axes.map((axis, i) => project(v, axis) - middle[i]);
    distance = Math.max(distance, Math.abs(x) / aspect / extent + z, Math.abs(y) / extent + z);
  }
  const world = (coordinates) =>
    [0, 1, 2].map((i) => axes.reduce((sum, axis, k) => sum + axis[i] * coordinates[k], 0));
  return {
    eye: world([middle[0], middle[1], middle[2] + distance]),
    target: world(middle),
    distance,
  };
}
