// What an admin may do: drain and its undoing, and moving a leader. Asked for, confirmed, followed.

import { byId, make, say } from "./dom.js";
import { clock, list, plural } from "./format.js";
import { act } from "./server.js";

const dialog = byId("confirm");
let asked = null;
let followed = null;

export function askToDrain(node, view) {
  const undo = node.drained;
  const alone = view.nodes.filter((other) => other.region === node.region).length === 1;
  const title = undo ? `Undo the drain of ${node.name}?` : `Drain ${node.name}?`;
  const leads = plural(node.leads ?? 0, "group", "groups");
  const text = undo
    ? "It leads again what it led before. No write fails by it."
    : `It leads ${leads}, and hands them over; then it leads nothing until this is undone. It keeps its vote. No write fails by it.`;
  open({
    title, text, yes: undo ? "Undo drain" : "Drain",
    legend: "What", options: alone ? [] : [[node.name, `node ${node.name}`], [node.region, `all of region ${node.region}`]],
    act: (where) => act("/api/drain", { where: where ?? node.name, undo }),
    follow: (where) => ({ undo, where: where ?? node.name, what: `${undo ? "Undoing the drain of" : "Draining"} ${where ?? node.name}` }),
  });
}

export function askToMove(group, view) {
  const others = group.may_lead.filter((name) => name !== group.leader);
  open({
    title: `Move the leader of group ${group.number}?`,
    text: `${group.leader || "Nobody"} leads it now. No write fails by it; what binds cost from each region may change.`,
    yes: "Move leader",
    legend: "To", options: others.map((name) => [name, name]),
    act: (to) => act("/api/leader", { group: group.number, to, topology_version: view.topology_version }),
    follow: (to) => ({ group: group.number, to, what: `Moving the leader of group ${group.number} to ${to}` }),
  });
}

function open(wanted) {
  asked = wanted;
  say(byId("confirm-title"), wanted.title);
  say(byId("confirm-text"), wanted.text);
  say(byId("confirm-yes"), wanted.yes);
  say(byId("confirm-error"), "");
  say(byId("confirm-legend"), wanted.legend);
  byId("confirm-choice").hidden = !wanted.options.length;
  byId("confirm-options").replaceChildren(...wanted.options.map(([value, text], place) =>
    make("label", {}, make("input", { type: "radio", name: "confirm-option", value, checked: place === 0 }), ` ${text}`)));
  byId("confirm-yes").disabled = false;
  dialog.showModal();
  byId("confirm-no").focus();
}

async function carryOut() {
  const wanted = asked;
  const picked = dialog.querySelector("input[name=confirm-option]:checked")?.value;
  byId("confirm-yes").disabled = true;
  say(byId("confirm-error"), "");
  try {
    const done = await wanted.act(picked);
    followed = { ...wanted.follow(picked), version: done.topology_version };
    dialog.close();
    tell(`${followed.what}: decided, as version ${followed.version} of the topology`, "busy");
  } catch (error) {
    say(byId("confirm-error"), error.message);
    byId("confirm-yes").disabled = false;
  }
}

function tell(text, state) {
  const notice = byId("notice");
  notice.hidden = false;
  notice.dataset.state = state;
  say(notice, text);
}

// What came of the last action, by what the nodes say since.
export function follow(view) {
  if (followed === null || view.topology_version < followed.version) return;
  const waiting = followed.to === undefined ? stillToMove(view) : stillToLead(view);
  if (waiting) {
    tell(`${followed.what}: ${waiting}`, "busy");
  } else {
    tell(`${clock(view.at_ms)}: ${outcome()}`, "done");
    followed = null;
  }
}

function stillToMove(view) {
  const late = view.groups.filter((group) => group.leader !== group.preferred).map((group) => group.number);
  return late.length ? `${late.length === 1 ? "group" : "groups"} ${list(late.map(String))} to change hands` : "";
}

function stillToLead(view) {
  const group = view.groups.find((one) => one.number === followed.group);
  return group && group.leader !== followed.to ? `${group.leader || "nobody"} leads it still` : "";
}

function outcome() {
  if (followed.to !== undefined) return `${followed.to} leads group ${followed.group}.`;
  if (followed.undo) return `${followed.where} leads again what it led before.`;
  return `${followed.where} leads nothing, and may be stopped.`;
}

byId("confirm-no").addEventListener("click", () => dialog.close());
byId("confirm-yes").addEventListener("click", carryOut);
