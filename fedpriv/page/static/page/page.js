// What the page does beyond a plain form: previews, drop and paste, readings without leaving the page, maps.
// Everything works without this file, previews aside. Images never leave the browser but for the one request
// that reads them; nothing is kept here either, once the tab is closed.
"use strict";

document.documentElement.classList.add("js");

const form = document.getElementById("upload");
const said = document.getElementById("words")?.dataset;
const status = document.getElementById("status");

document.getElementById("print")?.addEventListener("click", () => window.print());
if (form) start();

function start() {
  const input = document.getElementById("images");
  const drop = document.getElementById("drop");
  const chosen = document.getElementById("chosen");
  const clear = document.getElementById("clear");
  const results = document.getElementById("results");
  const readings = document.getElementById("readings");
  const button = document.getElementById("read");
  let files = [];
  let previews = [];
  let busy = false;

  input.required = false; // the script says itself what is missing, where it is seen

  function choose(more) {
    const images = [...more].filter((file) => file.size || file.name);
    if (!images.length) return;
    files.push(...images);
    list();
    say("");
  }

  function list() {
    previews.forEach((url) => URL.revokeObjectURL(url));
    previews = files.map((file) => URL.createObjectURL(file));
    chosen.replaceChildren(...files.map(thumbnail));
    chosen.hidden = clear.hidden = !files.length;
    input.value = "";
  }

  function thumbnail(file, place) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = file.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", said.remove.replace("{n}", file.name));
    remove.addEventListener("click", () => {
      files.splice(place, 1);
      list();
      (chosen.querySelectorAll("button")[Math.min(place, files.length - 1)] || input).focus();
    });
    item.append(picture(previews[place], ""), remove, name);
    return item;
  }

  input.addEventListener("change", () => choose(input.files));
  clear.addEventListener("click", () => {
    files = [];
    list();
    input.focus();
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("drop--over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("drop--over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("drop--over");
    choose(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => choose(event.clipboardData.files));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    if (!files.length) {
      say(said.none);
      input.focus();
      return;
    }
    const queue = files;
    files = [];
    list();
    setBusy(true);
    readings.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
    readings.replaceChildren();
    results.hidden = false;
    form.classList.add("upload--after");
    results.querySelector(".sheet__when").textContent = new Date().toLocaleString(document.documentElement.lang);
    for (const [place, file] of queue.entries()) {
      say(said.busy.replace("{n}", place + 1).replace("{m}", queue.length));
      readings.append(await read(file));
    }
    say(queue.length === 1 ? said.doneOne : said.done.replace("{n}", queue.length));
    setBusy(false);
    document.getElementById("results-title").focus({ preventScroll: true });
    results.scrollIntoView({ block: "start" });
  });

  function setBusy(now) {
    busy = now;
    button.setAttribute("aria-disabled", String(now));
    results.setAttribute("aria-busy", String(now));
  }

  async function read(file) {
    const reading = (await ask(file, false)) || problem(`${file.name}: ${said.failed}`);
    const place = reading.querySelector(".field__image");
    if (!place || reading.classList.contains("reading--refused")) return reading;
    place.append(picture(URL.createObjectURL(file), said.preview));
    place.parentElement.removeAttribute("data-empty");
    if (reading.querySelector(".bars")) place.after(mapButton(file, place));
    return reading;
  }

  function mapButton(file, place) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "quiet";
    more.textContent = said.map;
    more.addEventListener("click", async () => {
      if (more.getAttribute("aria-disabled") === "true") return;
      more.setAttribute("aria-disabled", "true");
      say(said.mapping);
      const answer = await ask(file, true);
      const map = answer?.querySelector(".evidence");
      if (!map) {
        more.removeAttribute("aria-disabled");
        say(answer?.textContent.trim() || said.failed);
        return;
      }
      const words = answer.querySelector("figcaption");
      place.append(map);
      more.replaceWith(words);
      words.tabIndex = -1;
      words.focus({ preventScroll: true });
      say(said.mapped);
    });
    return more;
  }
}

// The server's own reading of one image, as an element of this document; or its complaint.
async function ask(file, withMap) {
  const body = new FormData();
  body.append("csrfmiddlewaretoken", form.querySelector("[name=csrfmiddlewaretoken]").value);
  body.append("images", file);
  if (withMap) body.append("map", "1");
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
  } catch {
    return null;
  }
  if (answer.redirected && new URL(answer.url).pathname === form.dataset.login) {
    location.assign(form.dataset.login);
    return null;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const reading = page.querySelector("[data-reading]");
  if (reading) return document.adoptNode(reading);
  const complaint = page.querySelector("[data-problem]");
  return complaint ? problem(`${file.name}: ${complaint.textContent}`) : null;
}

function problem(words) {
  const box = document.createElement("p");
  box.className = "problem";
  box.textContent = words;
  return box;
}

function picture(url, words) {
  const image = document.createElement("img");
  image.src = url;
  image.alt = words;
  image.addEventListener("error", () => {
    const blank = document.createElement("div");
    blank.className = "blank";
    blank.textContent = said.noPreview;
    image.replaceWith(blank);
  });
  return image;
}

function say(words) {
  status.textContent = words;
}
