// Light and dark: the colours of page.css, as the shaders read them.

const vector = () => new THREE.Vector3();
const theme = {
  body: { value: [vector(), vector(), vector(), vector()] },
  shadow: { value: vector() },
  strength: { value: 0.3 },
  floor: { value: vector() },
  grid: { value: vector() },
  marks: { value: [vector(), vector(), vector(), vector()] },
  ghosts: [],
  page: "",
  sky: "",
};

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgb = (name) => {
  const hex = css(name);
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16) / 255);
};

const isDark = () => document.documentElement.dataset.theme === "dark";

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  ["middle", "left", "right", "mark"].forEach((name, place) => theme.body.value[place].set(...rgb(name)));
  ["path", "left", "right", "slide"].forEach((name, place) => theme.marks.value[place].set(...rgb(name)));
  for (const name of ["shadow", "floor", "grid"]) theme[name].value.set(...rgb(name));
  for (const name of ["page", "sky"]) theme[name] = css(name);
  theme.strength.value = dark ? 0.5 : 0.26;
  theme.ghosts = [1, 2, 3].map((place) => rgb(`ghost-${place}`));
}
