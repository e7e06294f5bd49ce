// Three cameras, which all panels share: fixed on the whole path, around it, and with the body.

const FIELD = 32;
const HOME = { azimuth: 0.62, elevation: 0.4, zoom: 1 };
const TURN = 0.35; // radians per second
const still = matchMedia("(prefers-reduced-motion: reduce)");

const view = { mode: "fixed", ...HOME };

// The box [least, greatest] around a motion's whole path.
function bounds(motion, pose) {
  if (motion.bounds) return motion.bounds;
  const low = [Infinity, 0, Infinity];
  const high = [-Infinity, 0.5, -Infinity];
  for (let place = 0; place < motion.positions.length; place++) {
    const axis = place % 3;
    const value = motion.positions[place];
    if (value < low[axis]) low[axis] = value;
    if (value > high[axis]) high[axis] = value;
  }
  const margin = 0.12 * pose.body.scale;
  motion.bounds = [low.map((value, axis) => (axis === 1 ? 0 : value - margin)), high.map((value) => value + margin)];
  return motion.bounds;
}

const union = (boxes) => [
  [0, 1, 2].map((axis) => Math.min(...boxes.map(([low]) => low[axis]))),
  [0, 1, 2].map((axis) => Math.max(...boxes.map(([, high]) => high[axis]))),
];

// Where the root is, averaged over a second, so that the camera does not shake.
function rootNear(pose, time) {
  const { positions, frames, fps } = pose.motion;
  const reach = Math.round(fps / 2);
  const middle = Math.min(Math.max(time * fps, 0), frames - 1);
  const sum = [0, 0, 0];
  let weights = 0;
  for (let frame = Math.floor(middle) - reach; frame <= Math.ceil(middle) + reach; frame++) {
    const weight = Math.max(1 - Math.abs(frame - middle) / (reach + 1), 0);
    const place = 3 * pose.joints * Math.min(Math.max(frame, 0), frames - 1);
    for (let axis = 0; axis < 3; axis++) sum[axis] += weight * positions[place + axis];
    weights += weight;
  }
  return sum.map((value) => value / weights);
}

// Put a camera so that a box fits into its picture.
function aim(camera, focus, size, aspect) {
  const { azimuth, elevation } = view;
  const back = [Math.sin(azimuth) * Math.cos(elevation), Math.sin(elevation), Math.cos(azimuth) * Math.cos(elevation)];
  const right = [Math.cos(azimuth), 0, -Math.sin(azimuth)];
  const up = [-Math.sin(azimuth) * Math.sin(elevation), Math.cos(elevation), -Math.cos(azimuth) * Math.sin(elevation)];
  const tall = Math.tan((FIELD * Math.PI) / 360);
  let distance = 0;
  for (let corner = 0; corner < 8; corner++) {
    const offset = [0, 1, 2].map((axis) => ((corner >> axis) & 1 ? 0.5 : -0.5) * size[axis]);
    const dot = (axes) => offset[0] * axes[0] + offset[1] * axes[1] + offset[2] * axes[2];
    const wanted = Math.max(Math.abs(dot(right)) / (tall * aspect), Math.abs(dot(up)) / tall);
    distance = Math.max(distance, 1.06 * wanted + dot(back));
  }
  distance /= view.zoom;
  camera.aspect = aspect;
  camera.fov = FIELD;
  camera.near = Math.max(distance / 100, 0.02);
  camera.far = distance + 60;
  camera.position.set(...focus.map((value, axis) => value + distance * back[axis]));
  camera.lookAt(...focus);
  camera.updateProjectionMatrix();
  return distance;
}

const turn = (x, y) => {
  view.azimuth -= x * 0.008;
  view.elevation = Math.min(Math.max(view.elevation + y * 0.006, -0.1), 1.5);
  redraw();
};
const zoom = (factor) => {
  view.zoom = Math.min(Math.max(view.zoom * factor, 0.3), 6);
  redraw();
};

// Drag, wheel and pinch on a panel's picture.
function steer(element) {
  const fingers = new Map();
  const spread = () => {
    const [first, second] = [...fingers.values()];
    return Math.hypot(first[0] - second[0], first[1] - second[1]);
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  element.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 1) turn(event.clientX - last[0], event.clientY - last[1]);
    else if (before) zoom(spread() / before);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  element.addEventListener(
    "wheel",
    (event) => {
      if (element.closest(".scrolls") && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0012));
    },
    { passive: false },
  );
}
