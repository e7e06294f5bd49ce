// The figure: all capsules of a body in one draw call, bent into place by the vertex shader.

const SEGMENTS = 20;
const RINGS = 7;
const LIGHT = "vec3(0.28, 0.9, 0.34)";

// A sphere cut at its equator; `end` says at which end of a capsule a half lies.
const capsule = (() => {
  const normals = [];
  const ends = [];
  const faces = [];
  for (let ring = 0; ring < 2 * RINGS; ring++) {
    const end = ring < RINGS ? 0 : 1;
    const angle = ((ring - end) / (2 * RINGS - 2)) * Math.PI - Math.PI / 2;
    for (let side = 0; side <= SEGMENTS; side++) {
      const around = (2 * Math.PI * side) / SEGMENTS;
      normals.push(Math.cos(angle) * Math.cos(around), Math.sin(angle), Math.cos(angle) * Math.sin(around));
      ends.push(end);
      if (ring === 0 || side === 0) continue;
      const here = ring * (SEGMENTS + 1) + side;
      const below = here - SEGMENTS - 1;
      faces.push(below - 1, here - 1, below, below, here - 1, here);
    }
  }
  return { normals: new Float32Array(normals), ends: new Float32Array(ends), faces };
})();

const PLACE = `
  attribute float end;
  attribute vec4 start, stop, flatten;
  vec3 normalHere;
  vec3 placeHere() {
    vec3 axis = stop.xyz - start.xyz;
    float size = length(axis);
    vec3 up = size > 1e-5 ? axis / size : vec3(0.0, 1.0, 0.0);
    vec3 aside = normalize(cross(abs(up.y) < 0.9 ? vec3(0.0, 1.0, 0.0) : vec3(1.0, 0.0, 0.0), up));
    vec3 out_ = aside * position.x + up * position.y + cross(aside, up) * position.z;
    vec3 reach = out_ * mix(start.w, stop.w, end);
    reach -= flatten.xyz * dot(reach, flatten.xyz) * (1.0 - flatten.w);
    vec3 lean = out_ - up * (stop.w - start.w) / max(size, 0.05) * (1.0 - abs(position.y));
    normalHere = normalize(lean + flatten.xyz * dot(lean, flatten.xyz) * (1.0 / flatten.w - 1.0));
    return mix(start.xyz, stop.xyz, end) + reach;
  }`;

const FIGURE_VERTEX = `
  ${PLACE}
  attribute float side;
  varying vec3 vNormal, vView, vColour;
  varying float vHeight;
  uniform vec3 colours[4];
  void main() {
    vec3 world = placeHere();
    vNormal = normalHere;
    vView = cameraPosition - world;
    vHeight = world.y;
    vColour = colours[int(side + 0.5)];
    gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.0);
  }`;

// Light from above and from the front, from the sky and the floor, and along the edges.
const FIGURE_FRAGMENT = `
  varying vec3 vNormal, vView, vColour;
  varying float vHeight;
  uniform float opacity;
  void main() {
    vec3 normal = normalize(vNormal), view = normalize(vView), light = normalize(${LIGHT});
    float sun = max(dot(normal, light), 0.0);
    float fill = max(dot(normal, normalize(view + vec3(0.0, 0.25, 0.0))), 0.0);
    float sky = mix(0.36, 0.62, normal.y * 0.5 + 0.5);
    float near = mix(0.72, 1.0, smoothstep(0.0, 0.28, vHeight + 0.12 * normal.y));
    float shine = pow(max(dot(normal, normalize(light + view)), 0.0), 36.0);
    float edge = pow(1.0 - max(dot(normal, view), 0.0), 3.0);
    vec3 base = pow(vColour, vec3(2.2));
    vec3 colour = base * (sky * near + 0.58 * sun + 0.26 * fill) + 0.1 * shine + 0.1 * edge * (normal.y * 0.5 + 0.5);
    gl_FragColor = vec4(pow(min(colour, 1.0), vec3(1.0 / 2.2)), opacity);
  }`;

const SHADOW_VERTEX = `
  ${PLACE}
  varying float vHeight;
  void main() {
    vec3 world = placeHere(), light = ${LIGHT};
    vHeight = max(world.y, 0.0);
    world = vec3(world.x - vHeight * light.x / light.y, 0.004, world.z - vHeight * light.z / light.y);
    gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.0);
  }`;

const SHADOW_FRAGMENT = `
  varying float vHeight;
  uniform vec3 shadow;
  uniform float strength;
  void main() { gl_FragColor = vec4(shadow, strength); }`;

class Figure {
  constructor(pose, ghost) {
    this.pose = pose;
    const { capsules } = pose.body;
    this.geometry = new THREE.InstancedBufferGeometry();
    this.geometry.setAttribute("position", new THREE.BufferAttribute(capsule.normals, 3));
    this.geometry.setAttribute("end", new THREE.BufferAttribute(capsule.ends, 1));
    this.geometry.setIndex(capsule.faces);
    this.geometry.instanceCount = capsules.length;
    for (const [name, size] of [["start", 4], ["stop", 4], ["flatten", 4], ["side", 1]]) {
      const attribute = new THREE.InstancedBufferAttribute(new Float32Array(size * capsules.length), size);
      if (size > 1) attribute.setUsage(THREE.DynamicDrawUsage);
      this.geometry.setAttribute(name, attribute);
      this[name] = attribute;
    }
    capsules.forEach(([, , from, to, side, depth], place) => {
      this.start.array[4 * place + 3] = from;
      this.stop.array[4 * place + 3] = to;
      this.side.array[place] = side;
      this.flatten.array[4 * place + 3] = depth;
    });
    this.meshes = ghost ? this.#ghost() : this.#solid();
  }

  #mesh(settings, order) {
    const mesh = new THREE.Mesh(this.geometry, new THREE.ShaderMaterial(settings));
    mesh.frustumCulled = false;
    mesh.renderOrder = order;
    return mesh;
  }

  #solid() {
    const uniforms = { colours: theme.body, opacity: { value: 1 } };
    const body = { vertexShader: FIGURE_VERTEX, fragmentShader: FIGURE_FRAGMENT, uniforms };
    // The stencil lets each place of the floor be darkened once.
    const shadow = {
      vertexShader: SHADOW_VERTEX,
      fragmentShader: SHADOW_FRAGMENT,
      uniforms: { shadow: theme.shadow, strength: theme.strength },
      transparent: true,
      depthWrite: false,
      side: THREE.DoubleSide,
      stencilWrite: true,
      stencilRef: 1,
      stencilFunc: THREE.NotEqualStencilFunc,
      stencilZPass: THREE.ReplaceStencilOp,
    };
    return [this.#mesh(body, 0), this.#mesh(shadow, 2)];
  }

  // First the depth alone, so that no inner surface shines through.
  #ghost() {
    const shaders = { vertexShader: FIGURE_VERTEX, fragmentShader: FIGURE_FRAGMENT };
    this.colours = { value: [0, 1, 2, 3].map(() => new THREE.Vector3()) };
    const uniforms = { colours: this.colours, opacity: { value: 0.42 } };
    return [
      this.#mesh({ ...shaders, uniforms, colorWrite: false, transparent: true }, 4),
      this.#mesh({ ...shaders, uniforms, transparent: true, depthWrite: false }, 5),
    ];
  }

  paint(colour) {
    this.colours.value.forEach((value) => value.set(...colour));
  }

  update() {
    const { points, facing, body } = this.pose;
    body.capsules.forEach(([from, to], place) => {
      for (let axis = 0; axis < 3; axis++) {
        this.start.array[4 * place + axis] = points[3 * from + axis];
        this.stop.array[4 * place + axis] = points[3 * to + axis];
        this.flatten.array[4 * place + axis] = facing[axis];
      }
    });
    for (const attribute of [this.start, this.stop, this.flatten]) attribute.needsUpdate = true;
  }

  dispose() {
    this.geometry.dispose();
    this.meshes.forEach((mesh) => mesh.material.dispose());
  }
}
