// The list of motions: a click shows an entry, + adds it to what is shown.

const gallery = document.getElementById("gallery");
const galleryButton = document.getElementById("gallery-button");
const narrow = matchMedia("(max-width: 760px)");
const entries = page.groups.map((numbers) => ({ numbers, motions: numbers.map((number) => page.motions[number]) }));
let current = 0;

function fillGallery() {
  const many = entries.length > 1;
  galleryButton.hidden = !many;
  if (!many) return;
  document.getElementById("entries").append(...entries.map(entryElement));
  document.getElementById("search").addEventListener("input", (event) => search(event.target.value));
  galleryButton.addEventListener("click", () => openGallery(gallery.hidden));
  narrow.addEventListener("change", () => openGallery(!narrow.matches));
  openGallery(!narrow.matches);
  search("");
}

function openGallery(open) {
  gallery.hidden = !open;
  galleryButton.setAttribute("aria-expanded", String(open));
  layOut();
}

function entryElement(entry, place) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "entry";
  const [words, details] = ["words", "facts"].map((name) => {
    const line = document.createElement("span");
    line.className = name;
    return line;
  });
  const { caption, name } = entry.motions[0];
  words.textContent = caption || name;
  details.textContent = [caption ? name : "", ...entry.motions.map(label)].filter(Boolean).join(" · ");
  button.append(words, details);
  button.addEventListener("click", () => {
    choose(place);
    if (narrow.matches) openGallery(false);
  });
  const add = document.createElement("button");
  add.type = "button";
  add.className = "add";
  add.addEventListener("click", () => toggle(entry));
  item.append(button, add);
  Object.assign(entry, { item, button, add });
  return item;
}

const label = ({ system, verdict }) => `${system}${verdict?.right == null ? "" : verdict.right ? " ✓" : " ✗"}`.trim();

function choose(place) {
  current = (place + entries.length) % entries.length;
  state.time = 0;
  return show(entries[current].numbers);
}

function toggle({ numbers }) {
  const shown = numbers.every((number) => state.shown.includes(number));
  const rest = state.shown.filter((number) => !numbers.includes(number));
  if (!shown) show([...rest, ...numbers].slice(-MOST));
  else if (rest.length) show(rest);
}

function refreshGallery() {
  for (const { numbers, item, button, add } of entries) {
    if (!item) return;
    const shown = numbers.some((number) => state.shown.includes(number));
    item.classList.toggle("shown", shown);
    button.setAttribute("aria-current", String(shown));
    add.textContent = shown ? "−" : "+";
    add.setAttribute("aria-label", shown ? "Take away" : "Show beside the others");
    add.title = add.getAttribute("aria-label");
  }
}

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { item, motions } of entries) {
    const content = motions.map(({ caption, name, system }) => `${caption} ${name} ${system}`).join(" ").toLowerCase();
    item.hidden = !words.every((word) => content.includes(word));
    found += item.hidden ? 0 : 1;
  }
  const leftOut = page.leftOut.length ? `; ${page.leftOut.length} left out, not finite` : "";
  document.getElementById("found").textContent = `${found} of ${entries.length}${leftOut}`;
}

// What is shown at first: the first entry, or a few single motions side by side.
function firstNumbers() {
  const single = entries.every(({ numbers }) => numbers.length === 1);
  return single && entries.length <= 4 ? entries.flatMap(({ numbers }) => numbers) : entries[0].numbers;
}
