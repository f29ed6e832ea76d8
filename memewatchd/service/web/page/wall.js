// The picture wall. No framework, no build: this file is what runs.
import { TEXTS } from "/static/texts.js";

const PAGE = 60, MOST = 1000, COPY_PIXELS = 512, FAVOURITE = "fav";
const $ = id => document.getElementById(id);
const query = $("query"), wall = $("wall");
const VIDEOS = ["mp4", "mov", "webm"];

let language = localStorage.getItem("language") || document.documentElement.lang;
let T = TEXTS[language] || TEXTS.en;
let hits = [];            // as the daemon gave them, in order
let chosen = 0;           // which of them the keys mean
let like = null;          // the hit that similar ones are shown of
let limit = PAGE;
let asking = null;        // the search that is on its way: an AbortController
let enter = null;         // Enter came before its answer: {full}
let undoable = [];        // the last deletions, latest last: {word, id}
const deleted = new Map();  // id → version that the index may still find for a moment
let status = null;
let generation = null;    // of the index, when it was last searched
const cards = new Map();  // id → its <li>, kept so that pictures don't flicker

// ---- asking

class Refused extends Error {}

async function ask(path, body, signal) {
  const options = { signal };
  if (body !== undefined) {
    options.method = "POST";
    options.body = body instanceof FormData ? body : JSON.stringify(body);
    if (typeof options.body === "string") options.headers = { "content-type": "application/json" };
  }
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(T.offline);
  }
  const answer = await reply.json().catch(() => ({}));
  // An upload of several answers for each; that is for who asked.
  if (!reply.ok && !answer.errors) throw new Refused(inWords(answer) || `HTTP ${reply.status}`);
  return answer;
}

const inWords = answer => T.codes[answer.code] || answer.error;

async function search() {
  asking?.abort();
  const mine = asking = new AbortController();
  wall.setAttribute("aria-busy", true);
  const body = like ? { like: like.id, limit } : { text: query.value, limit };
  generation = status?.wall.generation ?? null;
  try {
    const answer = await ask("/api/search", body, mine.signal);
    if (mine !== asking) return;  // a newer keystroke has asked since
    hits = answer.hits.filter(hit => deleted.get(hit.id) !== hit.version);
    problem("");
    $("note").textContent = [answer.searched && T.searched(answer.searched), answer.partial && T.partial]
      .filter(Boolean).join(" ");
    $("note").hidden = !$("note").textContent;
  } catch (error) {
    if (error.name === "AbortError" || mine !== asking) return;
    problem(error.message);
    if (like) hits = [];
    enter = null;
  }
  asking = null;
  draw();
  if (enter && hits.length) copy(hits[0], enter.full);
  enter = null;
}

// ---- showing

function draw() {
  const held = document.activeElement?.closest?.("#wall li")?.dataset.id;
  const wanted = hits.map((hit, at) => card(hit, at));
  wall.replaceChildren(...wanted);
  const kept = new Set(hits.map(hit => String(hit.id)));
  for (const id of cards.keys()) if (!kept.has(id)) cards.delete(id);
  const again = held === undefined ? -1 : hits.findIndex(hit => String(hit.id) === held);
  choose(again >= 0 ? again : Math.min(held === undefined ? 0 : chosen, hits.length - 1), held !== undefined);
  const nothing = !hits.length && $("problem").hidden;
  $("empty").hidden = !nothing;
  $("empty").textContent = nothing ? (query.value || like ? T.nothing : T.empty) : "";
  $("more").hidden = hits.length < limit || limit >= MOST;
  wall.dataset.query = like ? "" : query.value;
  wall.setAttribute("aria-busy", Boolean(asking));
  announceFound();
}

let foundTimer = 0;
function announceFound() {
  // For screen readers, once the typing rests.
  clearTimeout(foundTimer);
  foundTimer = setTimeout(() => { wall.setAttribute("aria-label", `${T.results}: ${T.found(hits.length)}`); showState(); }, 300);
}

function card(hit, at) {
  const id = String(hit.id);
  let item = cards.get(id);
  if (!item || item.dataset.version !== hit.version) {
    item = document.createElement("li");
    item.role = "option";
    item.dataset.id = id;
    item.dataset.version = hit.version;
    const video = VIDEOS.includes(hit.kind);
    const picture = document.createElement(video ? "video" : "img");
    if (video) { picture.muted = picture.loop = true; picture.preload = "metadata"; } else { picture.loading = "lazy"; picture.alt = ""; }
    picture.src = small(hit);
    picture.draggable = true;
    item.append(picture, span("name"), span("tags"), span("badge fav"), span("badge moving"));
    cards.set(id, item);
  }
  item.dataset.at = at;
  const [, name, tags, fav, moving] = item.children;
  const favourite = hit.tags.includes(FAVOURITE);
  name.textContent = hit.name;
  tags.textContent = hit.tags.filter(tag => tag !== FAVOURITE).join(", ");
  tags.hidden = !tags.textContent;
  fav.textContent = "★"; fav.hidden = !favourite;
  moving.textContent = hit.kind.toUpperCase(); moving.hidden = hit.frames <= 1;
  const said = [hit.name, hit.frames > 1 && T.animated, favourite && T.favourite, tags.textContent && `${T.tags}: ${tags.textContent}`];
  item.setAttribute("aria-label", said.filter(Boolean).join(", "));
  item.title = hit.path;
  return item;
}

function span(kind) {
  const made = document.createElement("span");
  made.className = kind;
  made.setAttribute("aria-hidden", "true");
  return made;
}

const small = hit => `/thumb/${hit.id}?v=${hit.version}`;
const whole = hit => `/picture/${hit.id}?v=${hit.version}`;

function choose(at, focus) {
  chosen = Math.max(0, Math.min(at, hits.length - 1));
  [...wall.children].forEach((item, number) => {
    const is = number === chosen;
    item.tabIndex = is ? 0 : -1;
    item.setAttribute("aria-selected", is);
    // An animated one moves while it is chosen: its thumbnail stands still.
    const hit = hits[number], picture = item.firstChild;
    if (picture.tagName === "VIDEO") { if (is && calm()) picture.pause(); else if (is) picture.play?.().catch(() => {}); else picture.pause(); }
    else if (hit.frames > 1 && !calm()) { const source = is ? whole(hit) : small(hit); if (picture.getAttribute("src") !== source) picture.src = source; }
  });
  if (focus && wall.children[chosen]) {
    wall.children[chosen].focus();
    wall.children[chosen].scrollIntoView({ block: "nearest" });
  }
  if (focus && !hits.length) query.focus();
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function columns() {
  const [first, ...others] = wall.children;
  const below = others.findIndex(item => item.offsetTop > first.offsetTop);
  return below < 0 ? wall.children.length : below + 1;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

let toastTimer = 0;
function say(text, undo) {
  $("said").textContent = text;
  $("undo").hidden = !undo;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  // What can be taken back stays until something else is said.
  if (!undo) toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 6000);
}

// ---- doing

async function copy(hit, full) {
  ask("/api/used", { id: hit.id }).catch(() => {});
  if (hit.frames > 1 || VIDEOS.includes(hit.kind)) { download(hit); say(T.moving(hit.name)); return; }
  try {
    // A promise inside: browsers want write() called while the key is still warm.
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png(hit, full) })]);
    say(T.copied(hit.name));
  } catch {
    download(hit);
    say(T.no_clipboard(hit.name));
  }
}

async function png(hit, full) {
  // What the browser can't decode (TIFF, HEIC) may have a thumbnail that it can.
  const image = await load(whole(hit)).catch(() => load(small(hit)));
  const scale = full ? 1 : Math.min(1, COPY_PIXELS / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((good, bad) => canvas.toBlob(blob => blob ? good(blob) : bad(new Error("no PNG")), "image/png"));
}

async function load(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

function download(hit) {
  const link = document.createElement("a");
  link.href = `${whole(hit)}&download=1`;
  link.download = hit.name;
  link.click();
}

function similar(hit) {
  like = hit;
  limit = PAGE;
  showLike();
  search();
}

function showLike() {
  $("like").hidden = !like;
  if (like) { $("like").textContent = T.like(like.name); $("like").setAttribute("aria-label", T.like_label(like.name)); }
}

async function remove(hit) {
  try {
    const answer = await ask("/api/delete", { ids: [hit.id] });
    undoable.push({ word: answer.undo[0], id: hit.id });
    deleted.set(hit.id, hit.version);
    hits = hits.filter(other => other.id !== hit.id);
    draw();
    say(T.deleted(hit.name), true);
  } catch (error) { say(error.message); }
}

async function undo() {
  const last = undoable.pop();
  if (!last) return;
  try {
    await ask("/api/undo", { undo: [last.word] });
    deleted.delete(last.id);
    say(T.undone, undoable.length > 0);
    setTimeout(search, 300);
  } catch (error) { say(error.message); }
}

async function setTags(hit, tags, done) {
  try {
    const kept = (await ask("/api/tags", { id: hit.id, tags })).tags;
    // Another answer may be shown by now, or be on its way, which is of before.
    for (const other of hits) if (other.id === hit.id) other.tags = kept;
    draw();
    if (asking) search();
    say(done);
  } catch (error) { say(error.message); }
}

function toggleFavourite(hit) {
  const is = hit.tags.includes(FAVOURITE);
  return setTags(hit, is ? hit.tags.filter(tag => tag !== FAVOURITE) : [...hit.tags, FAVOURITE], is ? T.fav_off : T.fav_on);
}

function editTags(hit) {
  const box = $("tags-box");
  $("tags-title").textContent = T.tags_of(hit.name);
  $("tags").value = hit.tags.join(", ");
  box.returnValue = "";
  box.onclose = () => {
    if (box.returnValue === "keep") setTags(hit, $("tags").value.split(/[,，]/), T.tagged);
    choose(chosen, true);
  };
  box.showModal();
}

async function add(files) {
  let list = [...files];
  const most = status?.wall.files ?? 20, bytes = status?.wall.file_bytes ?? Infinity;
  const notes = [];
  if (list.length > most) { notes.push(T.too_many(most)); list = list.slice(0, most); }
  const large = list.filter(file => file.size > bytes);
  notes.push(...large.map(file => T.too_large(file.name)));
  list = list.filter(file => file.size <= bytes);
  if (list.length) say(T.adding(list.length));
  let count = 0;
  for (const file of list) {  // one a request, so that a large one doesn't hold up the rest
    const form = new FormData();
    form.append("image", file);
    try {
      const answer = await ask("/api/add", form);
      count += answer.added.length;
      for (const { id } of answer.added) deleted.delete(id);
      notes.push(...answer.errors.map(error => `${error.name}: ${inWords(error)}`));
    } catch (error) { notes.push(`${file.name}: ${error.message}`); }
  }
  say([count ? T.added(count) : "", ...notes].filter(Boolean).join(" "));
  poll();
}

async function showFailed() {
  try {
    const answer = await ask("/api/failed");
    const lines = answer.files.map(file => {
      const line = document.createElement("li"), why = document.createElement("span");
      line.textContent = file.path;
      why.textContent = file.reason;
      line.append(why);
      return line;
    });
    if (answer.count > answer.files.length) {
      const line = document.createElement("li");
      line.textContent = T.failed_more(answer.count - answer.files.length);
      lines.push(line);
    }
    $("failed-list").replaceChildren(...lines);
    $("failed-box").showModal();
  } catch (error) { say(error.message); }
}

// ---- how it is

let pollTimer = 0;
async function poll() {
  clearTimeout(pollTimer);
  try {
    status = await ask("/api/status");
    document.body.dataset.state = status.state;
  } catch (error) {
    status = null;
    document.body.dataset.state = "offline";
  }
  showState();
  // What came or went shows up by itself, unless someone is typing this moment.
  if (status && !asking && generation !== status.wall.generation) search();
  const busy = !status || ["starting", "indexing"].includes(status.state);
  if (!document.hidden) pollTimer = setTimeout(poll, busy ? 700 : 2000);
}

function showState() {
  const bar = $("bar");
  if (!status) { write("state", T.offline); bar.hidden = true; return; }
  const all = status.indexed + status.pending;
  bar.hidden = !status.pending;
  bar.max = all || 1;
  bar.value = status.indexed;
  const parts = [T.state[status.state] || status.state, T.counts(status)];
  if (status.pending && status.eta_s !== null) parts.push(T.eta(status.eta_s));
  parts.push(T.found(hits.length));
  if (status.problems?.length) parts.push(...status.problems);
  if (!status.wall.writable) parts.push(T.read_only_note(status.wall.folder));
  write("state", parts.join(" · "));
  $("failed").hidden = !status.failed;
  write("failed", T.failed(status.failed));
}

function write(id, text) {
  // Only what is new: a live region reads every change aloud.
  if ($(id).textContent !== text) $(id).textContent = text;
}

function translate() {
  T = TEXTS[language] || TEXTS.en;
  document.documentElement.lang = language;
  document.title = `${T.title} · memewatchd`;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = T[each.dataset.text];
  for (const each of document.querySelectorAll("[data-placeholder]")) each.placeholder = T[each.dataset.placeholder];
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", T[each.dataset.label]);
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh";
  $("help-keys").replaceChildren(...T.help.flatMap(([key, what]) => {
    const name = document.createElement("dt"), meaning = document.createElement("dd");
    name.textContent = key;
    meaning.textContent = what;
    return [name, meaning];
  }));
  showLike();
  showState();
}

// ---- keys, clicks, drops

query.addEventListener("input", event => {
  if (event.isComposing) return;  // an input method is at work; what it ends with is searched
  typed();
});
query.addEventListener("compositionend", typed);
function typed() {
  enter = null;
  like = null;
  limit = PAGE;
  choose(0);  // how far one had walked through other answers means nothing now
  showLike();
  search();
}

query.addEventListener("keydown", event => {
  if (event.isComposing) return;
  if (event.key === "ArrowDown" && hits.length) { event.preventDefault(); choose(chosen, true); }
  else if (event.key === "Enter") { event.preventDefault(); if (asking) enter = { full: event.shiftKey }; else if (hits[chosen]) copy(hits[chosen], event.shiftKey); }
  else if (event.key === "Escape" && (query.value || like)) { event.preventDefault(); query.value = ""; typed(); }
});
$("search").addEventListener("submit", event => event.preventDefault());

const STEPS = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columns, ArrowUp: () => -columns() };
const DOES = {
  s: similar, f: toggleFavourite, t: editTags, Delete: remove, Backspace: remove,
  o: hit => open(whole(hit), "_blank", "noopener"),
};

wall.addEventListener("keydown", event => {
  const hit = hits[chosen];
  if (event.ctrlKey || event.metaKey || event.altKey || !hit) return;
  if (STEPS[event.key]) {
    event.preventDefault();
    const to = chosen + STEPS[event.key]();
    if (event.key === "ArrowUp" && to < 0) query.focus();
    else if (to < hits.length) choose(to, true);
    else if (event.key === "ArrowDown" && chosen < hits.length - 1) choose(hits.length - 1, true);
  } else if (event.key === "Home" || event.key === "End") {
    event.preventDefault();
    choose(event.key === "Home" ? 0 : hits.length - 1, true);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    copy(hit, event.shiftKey);
  } else if (DOES[event.key]) {
    event.preventDefault();
    DOES[event.key](hit);
  }
});

document.addEventListener("keydown", event => {
  if (document.querySelector("dialog[open]")) return;
  const writing = event.target === query;
  if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey || !writing)) {
    if (writing && query.value) return;  // its own undo
    event.preventDefault();
    undo();
  } else if (!writing && (event.key === "/" || event.key === "Escape")) {
    event.preventDefault();
    query.focus();
    query.select();
  } else if (!writing && event.key === "?") {
    event.preventDefault();
    $("help-box").showModal();
  }
});

const cardOf = event => event.target.closest?.("#wall li");
wall.addEventListener("click", event => {
  const item = cardOf(event);
  if (!item) return;
  choose(Number(item.dataset.at), true);
  copy(hits[chosen], event.shiftKey);
});
wall.addEventListener("focusin", event => { const item = cardOf(event); if (item && Number(item.dataset.at) !== chosen) choose(Number(item.dataset.at)); });

let ours = false;  // one of our own pictures is being dragged, so a drop here means nothing
wall.addEventListener("dragstart", event => {
  const item = cardOf(event);
  if (!item) return;
  ours = true;
  const hit = hits[Number(item.dataset.at)], link = new URL(whole(hit), location).href;
  event.dataTransfer.setData("text/uri-list", link);
  event.dataTransfer.setData("DownloadURL", `application/octet-stream:${hit.name}:${link}`);
});
addEventListener("dragend", () => { ours = false; $("drop").hidden = true; });
addEventListener("dragover", event => {
  if (ours || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  $("drop").hidden = false;
});
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", event => {
  $("drop").hidden = true;
  if (ours || !event.dataTransfer.files.length) return;
  event.preventDefault();
  add(event.dataTransfer.files);
});
addEventListener("paste", event => {
  if (event.clipboardData.files.length) { event.preventDefault(); add(event.clipboardData.files); }
});

$("add").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => { add($("files").files); $("files").value = ""; });
$("failed").addEventListener("click", showFailed);
$("help").addEventListener("click", () => $("help-box").showModal());
$("undo").addEventListener("click", undo);
$("like").addEventListener("click", () => { query.focus(); typed(); });
$("more").addEventListener("click", () => { limit = Math.min(MOST, limit + 2 * PAGE); search(); });
$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
  draw();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

translate();
search();
poll();
