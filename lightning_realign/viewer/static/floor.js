// The floor: a grid of metres, and what motions leave on it (the root's path, footprints, sliding feet).

const GRID_VERTEX = `
  varying vec2 vPlace;
  uniform vec3 centre;
  void main() {
    vec3 world = vec3(position.x * 40.0 + centre.x, 0.0, position.z * 40.0 + centre.z);
    vPlace = world.xz;
    gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.0);
  }`;

const GRID_FRAGMENT = `
  varying vec2 vPlace;
  uniform vec3 floorColour, gridColour, centre;
  uniform float reach;
  float lines(vec2 place, float width) {
    vec2 fine = fwidth(place) * width;
    vec2 away = abs(fract(place - 0.5) - 0.5);
    vec2 on = (1.0 - smoothstep(fine * 0.5, fine * 1.5, away)) * min(1.0, 0.12 / max(max(fine.x, fine.y), 1e-4));
    return max(on.x, on.y);
  }
  void main() {
    float far = length(vPlace - centre.xz) / reach;
    float grid = max(lines(vPlace, 1.1), 0.3 * lines(vPlace * 4.0, 0.8));
    vec3 colour = mix(floorColour, gridColour, grid);
    gl_FragColor = vec4(colour, 1.0 - smoothstep(0.35, 1.0, far));
  }`;

const square = new Float32Array([-1, 0, -1, 1, 0, -1, 1, 0, 1, -1, 0, 1]);
const squareFaces = [0, 2, 1, 0, 3, 2];

class Floor {
  constructor() {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(square, 3));
    geometry.setIndex(squareFaces);
    this.uniforms = {
      floorColour: theme.floor,
      gridColour: theme.grid,
      centre: { value: vector() },
      reach: { value: 8 },
    };
    const material = new THREE.ShaderMaterial({
      vertexShader: GRID_VERTEX,
      fragmentShader: GRID_FRAGMENT,
      uniforms: this.uniforms,
      transparent: true,
      side: THREE.DoubleSide,
    });
    this.mesh = new THREE.Mesh(geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = -1;
  }
}

const [PATH, FOOTPRINT, SLIDE] = [0, 1, 2];

// A mark is a rectangle on the floor: centre, direction with half length, half width, kind, colour and time.
const MARK_VERTEX = `
  attribute vec4 line;
  attribute vec4 kind;
  varying vec2 vPlace, vSize;
  varying vec4 vKind;
  void main() {
    vec2 along = line.zw;
    float size = max(length(along), 1e-4);
    vec2 ahead = along / size;
    vSize = vec2(size + kind.x, kind.x);
    vPlace = position.xz * vSize;
    vKind = kind;
    vec2 place = line.xy + ahead * vPlace.x + vec2(-ahead.y, ahead.x) * vPlace.y;
    gl_Position = projectionMatrix * viewMatrix * vec4(place.x, 0.005 + 0.001 * kind.y, place.y, 1.0);
  }`;

const MARK_FRAGMENT = `
  varying vec2 vPlace, vSize;
  varying vec4 vKind;
  uniform vec3 colours[4];
  uniform float time;
  void main() {
    vec2 inside = vec2(max(abs(vPlace.x) - vSize.x + vSize.y, 0.0), vPlace.y);
    float away = length(inside) - vSize.y;
    float soft = fwidth(away);
    float shape = 1.0 - smoothstep(-soft, soft * 0.25, away);
    float alpha = 0.75;
    if (vKind.y > 1.5) {
      alpha = abs(vPlace.y) > vSize.y * 0.5 || fract((vPlace.x + vPlace.y) / 0.05) < 0.6 ? 1.0 : 0.35;
    } else if (vKind.y > 0.5) {
      alpha = away > -0.009 - soft ? 1.0 : 0.42;
    }
    float past = 1.0 - smoothstep(0.0, 0.02, vKind.w - time);
    alpha *= mix(vKind.y > 0.5 ? 0.28 : 0.35, 1.0, past);
    gl_FragColor = vec4(colours[int(vKind.z + 0.5)], shape * alpha);
  }`;

class Marks {
  constructor(motion, pose) {
    this.rows = [];
    this.motion = motion;
    this.pose = pose;
    this.#path();
    motion.toes.forEach((states, foot) => this.#toe(states, foot));
    this.geometry = new THREE.InstancedBufferGeometry();
    this.geometry.setAttribute("position", new THREE.BufferAttribute(square, 3));
    this.geometry.setIndex(squareFaces);
    const lines = new Float32Array(this.rows.flatMap(([line]) => line));
    const kinds = new Float32Array(this.rows.flatMap(([, kind]) => kind));
    this.geometry.setAttribute("line", new THREE.InstancedBufferAttribute(lines, 4));
    this.geometry.setAttribute("kind", new THREE.InstancedBufferAttribute(kinds, 4));
    this.geometry.instanceCount = this.rows.length;
    this.time = { value: 0 };
    const material = new THREE.ShaderMaterial({
      vertexShader: MARK_VERTEX,
      fragmentShader: MARK_FRAGMENT,
      uniforms: { colours: theme.marks, time: this.time },
      transparent: true,
      depthWrite: false,
      side: THREE.DoubleSide,
    });
    this.mesh = new THREE.Mesh(this.geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 1;
  }

  #add(from, to, width, kind, colour, frame) {
    const line = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2, (to[0] - from[0]) / 2, (to[1] - from[1]) / 2];
    this.rows.push([line, [width, kind, colour, frame / this.motion.fps]]);
  }

  #ground(joint, frame) {
    const place = 3 * (frame * this.pose.joints + joint);
    return [this.motion.positions[place], this.motion.positions[place + 2]];
  }

  #path() {
    let last = this.#ground(0, 0);
    for (let frame = 1; frame < this.motion.frames; frame++) {
      const here = this.#ground(0, frame);
      if (Math.hypot(here[0] - last[0], here[1] - last[1]) < 0.02) continue;
      this.#add(last, here, 0.012 * this.pose.body.scale, PATH, 0, frame);
      last = here;
    }
  }

  // A footprint where a toe comes to stand, and a band along which it slides.
  #toe(states, foot) {
    const { toes, ankles, scale } = this.pose.body;
    let printed = null;
    for (let step = 0; step < states.length; step++) {
      if (states[step] === "0") {
        printed = null;
        continue;
      }
      const [from, to] = [this.#ground(toes[foot], step), this.#ground(toes[foot], step + 1)];
      if (states[step] === "2") {
        this.#add(from, to, 0.034 * scale, SLIDE, 3, step + 1);
        continue;
      }
      if (printed && Math.hypot(from[0] - printed[0], from[1] - printed[1]) < 0.09 * scale) continue;
      const heel = this.#ground(ankles[foot], step);
      const size = Math.max(Math.hypot(from[0] - heel[0], from[1] - heel[1]), 1e-3);
      const ahead = [(from[0] - heel[0]) / size, (from[1] - heel[1]) / size];
      const ends = [-0.14, 0.05].map((length) => [0, 1].map((axis) => from[axis] + length * scale * ahead[axis]));
      this.#add(...ends, 0.042 * scale, FOOTPRINT, 1 + foot, step);
      printed = from;
    }
  }

  dispose() {
    this.geometry.dispose();
    this.mesh.material.dispose();
  }
}
