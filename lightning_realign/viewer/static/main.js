// The start of the page.

function tell(text) {
  const message = document.getElementById("message");
  message.textContent = text;
  message.hidden = false;
}

async function main() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches);
  dark.addEventListener("change", () => changeTheme(dark.matches));
  firstNumbers().forEach((number) => decode(page.motions[number])); // while WebGL starts
  try {
    start();
  } catch {
    tell("This browser has no WebGL 2, which the figures need; switch on hardware acceleration or try another browser.");
    return;
  }
  wire();
  setCamera("fixed");
  setPlaying(!still.matches);
  fillGallery();
  await show(firstNumbers());
  if (page.leftOut.length) tell(`Left out, since their joints are NaN or infinite: ${page.leftOut.join(", ")}`);
}

window.viewer = { state, view, statistics, draw };
requestAnimationFrame(frame);
main().catch((error) => tell(`The motions cannot be shown (${error.message}).`));
