// The reward over the diffusion steps of a motion, and the step that is shown where steps were kept.

const svg = (name, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

const known = (rewards) => rewards.filter((reward) => reward !== null);
const short = (value) => value.toFixed(Math.abs(value) < 10 ? 2 : 1);

// The range [low, high] of rewards that motions side by side share.
function rewardRange(motions) {
  const rewards = motions.flatMap((motion) => known(motion.rewards));
  return [Math.min(...rewards), Math.max(...rewards)];
}

function chart(motion, [low, high]) {
  const box = document.createElement("div");
  box.className = "chart";
  const values = known(motion.rewards);
  const steps = Math.max(motion.rewards.length, motion.trace.length);
  if (values.length > 1) box.append(drawRewards(motion, values, low, high));
  if (motion.trace.length > 1) {
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: steps - 1, step: 1, value: steps - 1, className: "steps" });
    slider.setAttribute("aria-label", "Diffusion step");
    slider.addEventListener("input", () => setStep(Number(slider.value)));
    box.append(slider);
  }
  return box;
}

function drawRewards(motion, values, low, high) {
  const [left, right, top, bottom] = [44, 340, 8, 56];
  const count = motion.rewards.length;
  const x = (step) => left + ((right - left) * step) / (count - 1);
  const y = (reward) => bottom - ((bottom - top) * (reward - low)) / (high - low || 1);
  const [first, last] = [values[0], values[values.length - 1]];
  const picture = svg("svg", {
    viewBox: "0 0 400 80",
    role: "img",
    "aria-label": `Reward over ${count} diffusion steps, from ${short(first)} to ${short(last)}`,
  });
  picture.append(
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom + 4, y2: bottom + 4 }),
    svg("text", { x: left - 6, y: top + 5, "text-anchor": "end" }, short(high)),
    svg("text", { x: left - 6, y: bottom + 3, "text-anchor": "end" }, short(low)),
    svg("text", { x: left, y: 74 }, "step 1"),
    svg("text", { x: (left + right) / 2, y: 74, "text-anchor": "middle" }, "reward while denoising"),
    svg("text", { x: right, y: 74, "text-anchor": "end" }, String(count)),
  );
  let path = "";
  let end = 0;
  motion.rewards.forEach((reward, step) => {
    if (reward === null) return;
    path += `${path && motion.rewards[step - 1] !== null ? "L" : "M"}${x(step).toFixed(1)} ${y(reward).toFixed(1)}`;
    end = step;
  });
  picture.append(
    svg("path", { d: path }),
    svg("circle", { class: "end", cx: x(end), cy: y(last), r: 3.5 }),
    svg("text", { x: x(end) + 8, y: y(last) + 4 }, short(last)),
  );
  if (motion.trace.length > 1) picture.append(svg("line", { class: "step", y1: top, y2: bottom + 4, x1: x(end), x2: x(end) }));
  return picture;
}

// Show a diffusion step in the charts: the mark on the line, and the slider.
function markStep(box, motion, step) {
  const line = box.querySelector(".step");
  const place = 44 + (296 * step) / (motion.rewards.length - 1);
  if (line) for (const name of ["x1", "x2"]) line.setAttribute(name, place);
  const slider = box.querySelector(".steps");
  if (slider) {
    slider.value = step;
    slider.setAttribute("aria-valuetext", `step ${step + 1} of ${Number(slider.max) + 1}`);
  }
}
