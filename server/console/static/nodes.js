// The nodes: how each is, what it does, and whether it may lead.

import { byId, keyed, make, put, say } from "./dom.js";
import { count, ms, rate, span } from "./format.js";
import { askToDrain } from "./actions.js";

export function show(view) {
  keyed(byId("nodes-rows"), view.nodes, (node) => node.name, (node) => create(node), (entry, node) =>
    fill(entry, node, view));
  const note = byId("may-not");
  note.hidden = view.you.may_admin;
  if (!view.you.may_admin) say(note, `You look as client ${view.you.name}, which has no right to admin: draining and moving leaders are for who has.`);
}

function create(node) {
  const cells = {};
  const number = (name, wide = "") => (cells[name] = make("td", { class: `number ${wide}` }));
  cells.link = make("a", {}, node.name);
  cells.name = make("span", { class: "node-name" }, node.name);
  cells.region = make("small", {});
  cells.state = make("span", { class: "state" });
  cells.why = make("small", { class: "why" });
  cells.button = make("button", { type: "button", class: "small" });
  const entry = { cells, node };
  cells.button.addEventListener("click", () => askToDrain(entry.node, entry.view));
  entry.element = make("tr", {},
    make("th", { scope: "row" }, cells.name, cells.link, cells.region),
    make("td", {}, cells.state, cells.why),
    number("leads", "mid"), number("writes"), number("p50", "mid"), number("p99"),
    number("reads", "wide"), number("refused", "wide"), number("failed", "wide"), number("up", "wide"),
    make("td", { class: "act" }, cells.button));
  return entry;
}

function fill(entry, node, view) {
  const { cells } = entry;
  entry.node = node;
  entry.view = view;
  const own = node.name === view.node;
  cells.link.hidden = own || !node.console;
  cells.name.hidden = !cells.link.hidden;
  put(cells.link, "href", node.console);
  say(cells.region, own ? `${of(node)} this node` : of(node));
  const [state, word, why] = stateOf(node);
  put(cells.state, "data-state", state);
  say(cells.state, word);
  say(cells.why, why);
  say(cells.leads, node.silent ? "–" : `${count(node.leads)} of ${count(node.holds)}`);
  say(cells.writes, rate(node.writes_per_s));
  say(cells.p50, ms(node.latency?.p50_ms));
  say(cells.p99, ms(node.latency?.p99_ms));
  put(cells.p99, "data-over", (node.latency?.p99_ms ?? 0) > view.target_ms);
  say(cells.reads, rate(node.reads_per_s));
  for (const name of ["refused", "failed"]) {
    const value = node[`${name}_per_s`];
    say(cells[name], rate(value));
    put(cells[name], "data-over", value > 0);
  }
  say(cells.up, node.uptime_s === undefined ? "–" : span(node.uptime_s));
  cells.button.hidden = !view.you.may_admin || node.learner;
  say(cells.button, node.drained ? "Undo drain" : "Drain");
  put(cells.button, "aria-label", node.drained ? `Undo drain of ${node.name}` : `Drain ${node.name}`);
}

const of = (node) => (node.region === node.name ? "" : node.region);

function stateOf(node) {
  if (node.silent) return ["bad", "silent", node.silent];
  if (node.ills.length) return ["bad", "not well", node.ills.join("; ")];
  if (node.drained) return ["off", "drained", node.leads ? "handing over" : ""];
  if (node.learner) return ["good", "reads only", ""];
  return ["good", "well", ""];
}
