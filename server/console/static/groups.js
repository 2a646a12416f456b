// The groups: who leads each, what its replicas lack, and whether it is as it should be.

import { byId, keyed, make, put, say } from "./dom.js";
import { count, plural } from "./format.js";
import { askToMove } from "./actions.js";

// Nodes do not answer at the same moment: below this it is the time between two answers.
const LAG_SHOWN = 16;

export function show(view) {
  keyed(byId("groups-rows"), view.groups, (group) => group.number, create, (entry, group) =>
    fill(entry, group, view));
  say(byId("groups-hidden"), view.groups_hidden ? `${plural(view.groups_hidden, "group", "groups")} more, not shown; what is not well comes first` : "");
}

function create(first) {
  const cells = {};
  const number = (name, wide = "") => (cells[name] = make("td", { class: `number ${wide}` }));
  cells.geo = make("small", {});
  cells.replicas = make("ul", { class: "chips" });
  cells.ill = make("p", { class: "why" });
  cells.button = make("button", { type: "button", class: "small", "aria-label": `Move leader of group ${first.number}` }, "Move leader");
  const entry = { cells };
  cells.button.addEventListener("click", () => askToMove(entry.group, entry.view));
  entry.element = make("tr", {},
    make("th", { scope: "row" }, `${first.number}`, cells.geo),
    make("td", {}, cells.replicas, cells.ill),
    number("committed", "mid"), number("log", "wide"), number("pending", "wide"), number("slots", "wide"), number("term", "wide"),
    make("td", { class: "act" }, cells.button));
  return entry;
}

function fill(entry, group, view) {
  const { cells } = entry;
  entry.group = group;
  entry.view = view;
  say(cells.geo, group.geo);
  const order = new Map(view.nodes.map((node, place) => [node.name, place]));
  const replicas = [...group.replicas].sort((a, b) => (order.get(a.node) ?? 99) - (order.get(b.node) ?? 99));
  keyed(cells.replicas, replicas, (one) => one.node, chip, fillChip);
  const lines = [...group.ills, ...(group.waits_for ? [`waits for ${group.waits_for}`] : [])];
  say(cells.ill, lines.join("; "));
  put(cells.ill, "data-state", group.ills.length ? "bad" : "waits");
  say(cells.committed, count(group.committed));
  const leader = group.replicas.find((one) => one.node === group.leader);
  say(cells.log, leader ? count(leader.log_entries) : "–");
  say(cells.pending, count(group.pending));
  say(cells.slots, count(group.slots));
  say(cells.term, count(group.term));
  const others = group.may_lead.filter((name) => name !== group.leader);
  cells.button.hidden = !view.you.may_admin || !others.length;
}

function chip(one) {
  const word = make("span", { class: "hidden" });
  const lag = make("span", { class: "lag" });
  return { element: make("li", { class: "chip" }, one.node, word, lag), word, lag };
}

function fillChip(entry, one) {
  put(entry.element, "class", `chip ${one.role}`);
  say(entry.word, one.role === "leader" ? " leads" : one.role === "follower" ? "" : ` ${one.role}`);
  const lacks = one.lag >= LAG_SHOWN ? ` −${count(one.lag)}` : "";
  say(entry.lag, one.role === "silent" ? " silent" : one.role === "failed" ? " failed" : lacks);
  if (one.role === "silent" || one.role === "failed") say(entry.word, "");
}
