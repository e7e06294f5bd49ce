// Buttons, the time line and keys.

const control = (id) => document.getElementById(id);
const scrub = control("scrub");
const speed = control("speed");
const PLAY = "M7 4v16l13-8z";
const PAUSE = "M6 4h4v16H6zM14 4h4v16h-4z";

function setPlaying(playing) {
  if (playing && state.time >= duration()) state.time = 0;
  const changed = state.playing !== playing;
  state.playing = playing;
  if (changed && sharpness < 1) fitCanvas();
  control("play-icon").setAttribute("d", playing ? PAUSE : PLAY);
  control("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  redraw();
}

// A frame on or back, from the nearest frame.
function stepFrames(frames) {
  setPlaying(false);
  setTime((Math.round(state.time * rate()) + frames) / rate());
}

function setCamera(mode) {
  view.mode = mode;
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.setAttribute("aria-pressed", String(button.dataset.camera === mode));
  }
  redraw();
}

function setOverlay(overlay) {
  state.overlay = overlay;
  control("ghosts").setAttribute("aria-pressed", String(overlay));
  build(actors.map(({ motion }) => motion));
}

function flip(name) {
  state[name] = !state[name];
  control(name).setAttribute("aria-pressed", String(state[name]));
  redraw();
}

function changeSpeed(places) {
  speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + places, 0), speed.options.length - 1);
  state.speed = Number(speed.value);
}

function changeTheme(dark) {
  setTheme(dark);
  paintGhosts();
  redraw();
}

function refreshControls() {
  scrub.max = Math.round(duration() * rate());
  control("ghosts").disabled = state.shown.length < 2;
  drawFeet();
}

function refreshTime() {
  const seconds = Math.min(state.time, duration());
  scrub.value = Math.round(seconds * rate());
  const text = `${seconds.toFixed(2)} / ${duration().toFixed(2)} s`;
  if (control("time").textContent === text) return;
  control("time").textContent = text;
  scrub.setAttribute("aria-valuetext", `${seconds.toFixed(2)} of ${duration().toFixed(2)} seconds`);
}

// When feet stand and slide, above the time line: of the motion shown last.
function drawFeet() {
  const picture = control("feet");
  const { motion } = actors[actors.length - 1];
  const end = Math.max(duration() * motion.fps, 1);
  picture.setAttribute("viewBox", `0 0 ${end} 9`);
  picture.setAttribute("aria-label", `When feet stand and slide: ${motion.system || motion.name}`);
  picture.replaceChildren();
  motion.toes.forEach((states, foot) => {
    for (const run of states.matchAll(/1+|2+/g)) {
      const colour = run[0][0] === "2" ? "slide" : foot ? "right" : "left";
      const tall = run[0][0] === "2" ? 4 : 2.5;
      const place = { x: run.index, y: 5 * foot, width: run[0].length, height: tall };
      picture.append(svg("rect", { ...place, style: `fill: var(--${colour})` }));
    }
  });
}

const KEYS = {
  " ": () => setPlaying(!state.playing),
  ArrowLeft: (event) => stepFrames(event.shiftKey ? -Math.round(rate() / 2) : -1),
  ArrowRight: (event) => stepFrames(event.shiftKey ? Math.round(rate() / 2) : 1),
  ArrowUp: () => entries.length > 1 && choose(current - 1),
  ArrowDown: () => entries.length > 1 && choose(current + 1),
  Home: () => setTime(0),
  End: () => setTime(duration()),
  1: () => setCamera("fixed"),
  2: () => setCamera("orbit"),
  3: () => setCamera("follow"),
  0: () => (Object.assign(view, HOME), redraw()),
  g: () => state.shown.length > 1 && setOverlay(!state.overlay),
  t: () => flip("trails"),
  l: () => flip("loop"),
  d: () => changeTheme(!isDark()),
  "-": () => changeSpeed(-1),
  "+": () => changeSpeed(1),
  "=": () => changeSpeed(1),
  "[": () => setStep((state.step ?? Infinity) - 1),
  "]": () => setStep((state.step ?? -1) + 1),
  "?": () => control("help").showModal(),
};

function onKey(event) {
  const typing = event.target.matches("input[type=search], select") || control("help").open;
  const pressing = event.key === " " && event.target.matches("button");
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || typing || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act(event);
}

function wire() {
  const click = (id, act) => control(id).addEventListener("click", act);
  click("play", () => setPlaying(!state.playing));
  click("back", () => stepFrames(-1));
  click("on", () => stepFrames(1));
  click("loop", () => flip("loop"));
  click("trails", () => flip("trails"));
  click("ghosts", () => setOverlay(!state.overlay));
  click("theme", () => changeTheme(!isDark()));
  click("help-button", () => control("help").showModal());
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.addEventListener("click", () => setCamera(button.dataset.camera));
  }
  scrub.addEventListener("input", () => {
    setPlaying(false);
    setTime(Number(scrub.value) / rate());
  });
  speed.addEventListener("change", () => {
    state.speed = Number(speed.value);
  });
  addEventListener("keydown", onKey);
  new ResizeObserver(layOut).observe(stage);
  canvas.addEventListener("webglcontextrestored", redraw);
}
