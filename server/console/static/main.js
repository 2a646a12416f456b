// The page: one stream from the node it came from, and a module for each section that shows it.

import * as actions from "./actions.js";
import * as binding from "./binding.js";
import * as changes from "./changes.js";
import { byId, keyed, make, put, say } from "./dom.js";
import { clock, count, plural, rate } from "./format.js";
import * as groups from "./groups.js";
import * as latency from "./latency.js";
import * as links from "./links.js";
import * as nodes from "./nodes.js";
import { Stream } from "./server.js";

const SPEAK_EVERY_MS = 10_000;
const STALE_MS = 9_000;
const HIDDEN_MS = 30_000;

let lookedAt = 0;

// For who listens: what has changed, not more often than can be heard.
const spoken = { summary: "", at: 0, waiting: "" };

function speak(text) {
  spoken.waiting = text;
}

setInterval(() => {
  if (spoken.waiting && Date.now() - spoken.at >= SPEAK_EVERY_MS) {
    say(byId("said"), spoken.waiting);
    spoken.at = Date.now();
    spoken.waiting = "";
  }
  if (lookedAt && Date.now() - lookedAt > STALE_MS) live("lost", `Nothing new since ${clock(lookedAt)}`);
}, 1000);

function live(state, text) {
  put(byId("live"), "data-state", state);
  say(byId("live-text"), text);
  document.body.classList.toggle("stale", state === "lost");
}

function summary(view) {
  const all = view.nodes.length;
  const answering = all - view.nodes_silent;
  const well = view.groups_in_all - view.groups_ill;
  fact("sum-nodes", `${count(answering)} of ${count(all)}`, "answer", answering < all);
  fact("sum-groups", `${count(well)} of ${count(view.groups_in_all)}`, "are well", view.groups_ill > 0);
  fact("sum-writes", rate(view.writes_per_s), "a second", false);
  fact("sum-reads", rate(view.reads_per_s), "a second", false);
  const words = `${count(answering)} of ${plural(all, "node answers", "nodes answer")}, ${count(well)} of ${plural(view.groups_in_all, "group is well", "groups are well")}`;
  if (words !== spoken.summary) {
    spoken.summary = words;
    speak(words);
  }
}

function fact(id, figure, unit, isBad) {
  const element = byId(id);
  if (element.children.length === 0) element.replaceChildren(make("strong", {}), " ", make("span", {}, unit));
  say(element.firstElementChild, figure);
  put(element, "data-state", isBad ? "bad" : "good");
}

function tables(view) {
  for (const id of ["binding-table", "changes-table"]) {
    keyed(byId(id), view.you.tables, (name) => name, (name) => ({ element: make("option", { value: name }, name) }), () => {});
  }
}

// A box that scrolls can be scrolled by keyboard; one that does not is no stop on the way.
function scrollable() {
  for (const box of document.querySelectorAll(".scroll")) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    put(box, "tabindex", scrolls ? "0" : null);
  }
}

const stream = new Stream({
  course: latency.begin,
  view(view) {
    lookedAt = Date.now();
    live("live", `Live, ${clock(view.at_ms)}`);
    say(byId("cluster"), view.cluster);
    const who = view.you.name === null ? "" : `, by client ${view.you.name}`;
    say(byId("seen-from"), `Seen from ${view.node}${who} · version ${view.topology_version} of the topology`);
    document.title = `${view.cluster} · GlobalTable`;
    latency.add(view);
    for (const section of [latency, nodes, links, groups, binding]) section.show(view);
    summary(view);
    tables(view);
    actions.follow(view);
    scrollable();
  },
  watch: changes.standing,
  changes: changes.add,
  lost(why) {
    live("lost", why);
  },
});

// A page that nobody sees asks for nothing: browsers keep few connections to one host.
let hidden = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => stream.close(), HIDDEN_MS);
  } else if (!stream.isOpen) {
    changes.gap("not watched while this page was hidden");
    stream.open();
  }
});

changes.start((asked) => stream.open(asked), speak);
stream.open();
