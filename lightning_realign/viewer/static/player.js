// What is shown: the panels, their scenes, and the time that they share.

const canvas = document.getElementById("canvas");
const panelBox = document.getElementById("panels");
const stage = document.getElementById("stage");
const MOST = 6;

const state = { shown: [], time: 0, playing: false, speed: 1, loop: true, overlay: false, trails: true, step: null };
let renderer = null;
let actors = []; // one for each shown motion
let panels = []; // one for each picture
let dirty = true;
let request = 0;
let sharpness = 1; // dots of the canvas for each of the screen, while playing
let pace = 1 / 60; // mean seconds between pictures

const redraw = () => {
  dirty = true;
};
const duration = () => Math.max(0, ...actors.map(({ motion }) => motion.duration));
const rate = () => (actors.length ? Math.max(...actors.map(({ motion }) => motion.fps)) : 20);

class Actor {
  constructor(motion, ghost) {
    this.motion = motion;
    this.pose = new Pose(motion);
    this.figure = new Figure(this.pose, ghost);
    this.marks = ghost ? null : new Marks(motion, this.pose);
    this.meshes = [...this.figure.meshes, ...(this.marks ? [this.marks.mesh] : [])];
  }

  update() {
    const { steps, positions } = this.motion;
    const final = state.step === null || !steps?.length;
    this.pose.at(state.time, final ? positions : steps[Math.min(state.step, steps.length - 1)]);
    this.figure.update();
    if (!this.marks) return;
    this.marks.time.value = state.time;
    this.marks.mesh.visible = state.trails && final;
  }

  dispose() {
    this.figure.dispose();
    this.marks?.dispose();
  }
}

// Show motions by their numbers; resolves when the first picture of them is drawn.
async function show(numbers) {
  const own = ++request;
  const motions = await Promise.all(numbers.slice(0, MOST).map((number) => decode(page.motions[number])));
  if (own !== request) return;
  state.shown = numbers.slice(0, MOST);
  state.step = null;
  build(motions);
  if (state.time > duration()) state.time = 0;
  refreshControls();
  refreshGallery();
  redraw();
}

function build(motions) {
  actors.forEach((actor) => actor.dispose());
  panels.forEach(({ floor }) => floor.mesh.geometry.dispose());
  const overlay = state.overlay && motions.length > 1;
  actors = motions.map((motion, place) => new Actor(motion, overlay && place < motions.length - 1));
  const captions = new Set(motions.map(({ caption }) => caption));
  document.getElementById("caption").textContent = captions.size === 1 ? motions[0].caption : "";
  const range = rewardRange(motions);
  const own = captions.size > 1;
  panels = (overlay ? [actors] : actors.map((actor) => [actor])).map((cast) => panel(cast, range, own));
  panelBox.replaceChildren(...panels.map(({ element }) => element));
  paintGhosts();
  layOut();
}

function panel(cast, range, ownCaption) {
  const element = document.createElement("article");
  element.className = "panel";
  const picture = document.createElement("div");
  picture.className = "view";
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", cast.map(({ motion }) => `Moving figure: ${motion.caption || motion.name}`).join("; "));
  element.append(...cast.map((actor) => heading(actor, ownCaption)), picture);
  const charts = document.createElement("div");
  charts.className = "charts";
  for (const actor of cast) {
    actor.chart = chart(actor.motion, range);
    if (actor.chart.childElementCount) charts.append(actor.chart);
  }
  element.append(charts);
  steer(picture);
  const scene = new THREE.Scene();
  const floor = new Floor();
  scene.add(floor.mesh, ...cast.flatMap(({ meshes }) => meshes));
  return { element, picture, scene, floor, cast, camera: new THREE.PerspectiveCamera() };
}

function heading(actor, ownCaption) {
  const { motion } = actor;
  const top = document.createElement("div");
  top.className = "top";
  const add = (name, text, more = "") => {
    const span = document.createElement("span");
    span.className = `${name} ${more}`.trim();
    span.textContent = text;
    top.append(span);
    return span;
  };
  const system = add("system", motion.system || motion.name);
  actor.dot = document.createElement("i");
  if (state.overlay && state.shown.length > 1) system.prepend(actor.dot);
  if (motion.verdict) {
    const { text, right } = motion.verdict;
    const sign = right === null ? "" : right ? "✓ " : "✗ ";
    add("verdict", sign + text, right === null ? "" : right ? "good" : "bad");
  }
  add("facts", facts(motion));
  if (ownCaption && motion.caption) add("caption", motion.caption);
  return top;
}

function facts(motion) {
  const steps = motion.toes[0].length;
  let sliding = 0;
  for (let step = 0; step < steps; step++) sliding += motion.toes.some((toe) => toe[step] === "2") ? 1 : 0;
  const names = new Set(state.shown.map((number) => page.motions[number].name));
  const parts = [motion.system && names.size > 1 ? motion.name : "", `${(motion.frames / motion.fps).toFixed(1)} s`];
  if (steps) parts.push(`feet slide ${Math.round((100 * sliding) / steps)} %`);
  return parts.filter(Boolean).join(" · ");
}

function paintGhosts() {
  actors.forEach((actor, place) => {
    const ghost = actor.marks === null;
    const colour = theme.ghosts[place % theme.ghosts.length];
    if (ghost) actor.figure.paint(colour);
    const plain = ghost ? `rgb(${colour.map((value) => Math.round(255 * value)).join(" ")} / 60%)` : null;
    actor.dot.style.background = plain ?? "linear-gradient(90deg, var(--left) 50%, var(--right) 50%)";
  });
}

// As many columns as make the pictures largest; the page scrolls where they would be too small.
function layOut() {
  const [width, height] = [stage.clientWidth - 20, stage.clientHeight];
  const count = panels.length || 1;
  const extra = 50 + (actors.some(({ motion }) => known(motion.rewards).length > 1) ? 84 : 0);
  const size = (columns) => {
    const [wide, tall] = [width / columns, height / Math.ceil(count / columns) - extra];
    return Math.min(wide, tall * 1.15) * (wide < 170 ? 0.3 : 1);
  };
  let columns = 1;
  for (let more = 2; more <= count; more++) if (size(more) > size(columns)) columns = more;
  const rows = Math.ceil(count / columns);
  const scrolls = height / rows - extra < 150;
  panelBox.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  panelBox.style.gridAutoRows = scrolls ? `${170 + extra}px` : "minmax(0, 1fr)";
  const sheet = document.getElementById("sheet");
  sheet.style.height = panelBox.style.height = scrolls ? "auto" : "100%";
  sheet.classList.toggle("scrolls", scrolls);
  fitCanvas();
}

function fitCanvas() {
  const box = document.getElementById("sheet").getBoundingClientRect();
  renderer?.setPixelRatio(Math.min(devicePixelRatio, 2) * (state.playing ? sharpness : 1));
  renderer?.setSize(box.width, box.height);
  redraw();
}

// Where pictures come slowly, draw fewer dots while playing.
function keepPace(passed) {
  pace = 0.9 * pace + 0.1 * passed;
  if (pace < 0.05 || sharpness < 0.45) return;
  sharpness *= 0.8;
  pace = 1 / 60;
  fitCanvas();
}

// Draw every panel into its part of the canvas.
function draw() {
  const sheet = canvas.getBoundingClientRect();
  renderer.info.reset();
  renderer.setScissorTest(false);
  renderer.setClearColor(theme.page);
  renderer.clear();
  renderer.setClearColor(theme.sky);
  renderer.setScissorTest(true);
  actors.forEach((actor) => actor.update());
  const whole = panels.map(({ cast }) => union(cast.map(({ motion, pose }) => bounds(motion, pose))));
  const sizes = whole.map(([low, high]) => low.map((value, axis) => high[axis] - value));
  const size = [0, 1, 2].map((axis) => Math.max(...sizes.map((one) => one[axis])));
  panels.forEach((panel, place) => {
    const box = panel.picture.getBoundingClientRect();
    const [left, bottom] = [box.left - sheet.left, sheet.bottom - box.bottom];
    if (box.width < 2 || box.height < 2) return;
    renderer.setViewport(left, bottom, box.width, box.height);
    renderer.setScissor(left, bottom, box.width, box.height);
    renderer.clear();
    const [low, high] = whole[place];
    let focus = low.map((value, axis) => (value + high[axis]) / 2);
    let room = size;
    if (view.mode === "follow") {
      const { pose } = panel.cast[panel.cast.length - 1];
      const tall = 2 * pose.body.scale;
      const [x, , z] = rootNear(pose, state.time);
      focus = [x, 0.45 * tall, z];
      room = [0.75 * tall, 1.05 * tall, 0.75 * tall];
    }
    const distance = aim(panel.camera, focus, room, box.width / box.height);
    panel.floor.uniforms.centre.value.set(...focus);
    panel.floor.uniforms.reach.value = Math.max(6, distance * 1.3);
    renderer.render(panel.scene, panel.camera);
  });
}

const statistics = { frames: 0, script: [], firstFrame: null, calls: 0 };
let before = null;

function frame(now) {
  const passed = before === null ? 0 : Math.min((now - before) / 1000, 0.25);
  before = now;
  requestAnimationFrame(frame);
  if (!renderer || !actors.length) return;
  if (state.playing) {
    keepPace(passed);
    advance(passed * state.speed);
  }
  if (view.mode === "orbit" && !still.matches) turn((-TURN * passed) / 0.008, 0);
  if (!dirty) return;
  dirty = false;
  const start = performance.now();
  draw();
  refreshTime();
  statistics.script.push(performance.now() - start);
  if (statistics.script.length > 200) statistics.script.shift();
  statistics.calls = renderer.info.render.calls;
  statistics.frames++;
  statistics.firstFrame ??= performance.now();
}

function advance(seconds) {
  const end = duration();
  state.time += seconds;
  if (state.time > end + (state.loop ? 0.4 : 0)) {
    state.time = state.loop ? 0 : end;
    if (!state.loop) setPlaying(false);
  }
  redraw();
}

function setTime(time) {
  state.time = Math.min(Math.max(time, 0), duration());
  redraw();
}

async function setStep(step) {
  const most = Math.max(0, ...actors.map(({ motion }) => motion.trace.length));
  if (most < 2) return;
  state.step = Math.min(Math.max(step, 0), most - 1);
  actors.forEach((actor) => markStep(actor.chart, actor.motion, state.step));
  await Promise.all(actors.map(({ motion }) => decodeSteps(motion)));
  redraw();
}

function start() {
  renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: false, stencil: true, powerPreference: "low-power" });
  renderer.autoClear = false;
  renderer.info.autoReset = false;
}
