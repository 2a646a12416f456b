// Changes as they flow: the newest on top, as many as are worth keeping; paused on demand.

import { byId, make, put, say } from "./dom.js";
import { clock, count, list, plural } from "./format.js";

const ROWS_MAX = 200;
const TELL_EVERY_MS = 10_000;

const rows = byId("changes-rows");
const pause = byId("changes-pause");
let watching = null;
let isPaused = false;
let held = [];
let seen = 0;
let untold = 0;
let toldAt = 0;
let tellLater = null;

export function start(open, speak) {
  tellLater = speak;
  byId("changes-form").addEventListener("submit", (event) => {
    event.preventDefault();
    watching = { table: byId("changes-table").value, prefix: byId("changes-prefix").value };
    seen = 0;
    held = [];
    rows.replaceChildren();
    pausing(false);
    pause.disabled = false;
    say(byId("changes-note"), "");
    open(watching);
  });
  pause.addEventListener("click", () => pausing(!isPaused));
}

function pausing(wanted) {
  isPaused = wanted;
  put(pause, "aria-pressed", String(wanted));
  say(pause, wanted ? "Go on" : "Pause");
  if (!wanted) insert(held.splice(0));
  tellState();
}

// What is watched, or why not.
export function standing(told) {
  const notes = [];
  if (told.error) notes.push(told.error);
  else if (told.elsewhere.length) {
    notes.push(`This node holds no replica of ${told.elsewhere.length === 1 ? "group" : "groups"} ${list(told.elsewhere.map(String))}: their changes are not among these.`);
  }
  if (told.error) watching = null;
  say(byId("changes-note"), notes.join(" "));
  tellState();
}

export function add(told) {
  const at = Date.now();
  const fresh = told.changes.map((change) => ({ at, change }));
  seen += fresh.length + told.left_out;
  untold += fresh.length + told.left_out;
  if (told.left_out) fresh.unshift({ at, text: `${plural(told.left_out, "change", "changes")} more, faster than can be shown` });
  if (told.gap) fresh.push({ at, text: `Some may be missing: ${told.gap}` });
  if (isPaused) held = [...held, ...fresh].slice(-ROWS_MAX);
  else insert(fresh);
  tellState();
  if (at - toldAt >= TELL_EVERY_MS && untold && !isPaused) {
    toldAt = at;
    tellLater(`${plural(untold, "change", "changes")} in ${watching?.table ?? "the table"}`);
    untold = 0;
  }
}

export function gap(why) {
  if (watching) add({ changes: [], left_out: 0, gap: why });
}

function insert(fresh) {
  rows.prepend(...fresh.slice(-ROWS_MAX).reverse().map(row));
  while (rows.children.length > ROWS_MAX) rows.lastElementChild.remove();
}

function row({ at, change, text }) {
  if (text) return make("tr", { class: "aside" }, make("td", { class: "time mid" }, clock(at)), make("td", { colspan: "6" }, text));
  return make("tr", {},
    make("td", { class: "time mid" }, clock(at)),
    make("td", { class: "word" }, change.key),
    make("td", {}, make("span", { class: `kind ${change.kind}` }, change.kind)),
    make("td", {}, change.unit),
    make("td", { class: "number" }, count(change.version)),
    make("td", { class: "number wide" }, count(change.group)),
    make("td", { class: "number wide" }, count(change.revision)));
}

function tellState() {
  const where = watching ? `${watching.table}${watching.prefix ? `, ${watching.prefix}…` : ""}` : "";
  const waits = isPaused ? `, paused${held.length ? `, ${count(held.length)} waiting` : ""}` : "";
  say(byId("changes-state"), watching ? `${where}: ${count(seen)} seen${waits}` : "Nothing is watched yet");
}
