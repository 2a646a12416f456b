// One binding, looked up, with what is still known of its past.

import { byId, make, put } from "./dom.js";
import { count, plural } from "./format.js";
import { get } from "./server.js";

const result = byId("binding-result");
let view = null;

export function show(latest) {
  view = latest;
}

byId("binding-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = { table: byId("binding-table").value, key: byId("binding-key").value };
  if (byId("binding-current").checked) asked.linearizable = "1";
  put(result, "aria-busy", "true");
  try {
    result.replaceChildren(...found(await get("/api/binding", asked)));
  } catch (error) {
    result.replaceChildren(...refused(error));
  }
  put(result, "aria-busy", null);
});

function found(one) {
  const group = view?.groups.find((other) => other.number === one.group);
  const bound = one.binding;
  const told = one.linearizable ? "current: a majority has confirmed it" : `as ${view?.node ?? "this node"} has it`;
  const where = `group ${one.group}${group?.leader ? `, led by ${group.leader}` : ""}, slot ${count(one.slot)}`;
  const head = bound
    ? [make("span", { class: "unit" }, bound.unit), make("span", {}, ` holds ${one.key}, version ${count(bound.version)}`)]
    : [make("span", { class: "unit none" }, "Not bound"), make("span", {}, ` ${one.key}`)];
  return [
    make("p", { class: "answer" }, ...head),
    make("p", { class: "note" }, `${where}; ${told}, at revision ${count(one.read_revision)}`),
    ...past(one),
  ];
}

function past(one) {
  const { changes, left_out: leftOut, since_revision: since, kept_ops: kept, why_none: whyNone } = one.past;
  if (whyNone) return [make("p", { class: "note" }, `Its past cannot be told now: ${whyNone}`)];
  const rows = [...changes].reverse().map((change) =>
    make("tr", {},
      make("td", { class: "number" }, count(change.version)),
      make("td", {}, change.kind),
      make("td", {}, change.unit),
      make("td", { class: "number" }, count(change.revision))));
  const table = make("div", { class: "scroll" }, make("table", {},
    make("caption", { class: "hidden" }, `Past of ${one.key}, the newest first`),
    make("thead", {}, make("tr", {},
      make("th", { scope: "col", class: "number" }, "Version"), make("th", { scope: "col" }, "Change"),
      make("th", { scope: "col" }, "Unit"), make("th", { scope: "col", class: "number" }, "Revision"))),
    make("tbody", {}, ...rows)));
  return [make("h3", {}, "Past"), ...(rows.length ? [table] : []), make("p", { class: "note" }, reach(one, changes, leftOut, since, kept))];
}

function reach(one, changes, leftOut, since, kept) {
  const oldest = changes[0];
  const from = `Group ${one.group} remembers its last ${plural(kept, "op", "ops")}, since revision ${count(since)}, without their times.`;
  if (leftOut) return `${from} Of this key ${plural(leftOut, "older change is", "older changes are")} left out here.`;
  if (!oldest) return `${from} ${one.binding ? "Nothing that happened to this key is among them." : "Nothing of this key is among them."}`;
  if (oldest.version === 1) return `${from} That is all that ever happened to this key.`;
  const gone = oldest.version - 1;
  return `${from} ${gone === 1 ? "Version 1 of this key is" : `Versions 1 to ${count(gone)} of this key are`} older than that.`;
}

function refused(error) {
  const parts = [make("p", { class: "error" }, error.message)];
  const held = (error.body?.held_by ?? []).filter((name) => name !== view?.node);
  if (held.length) {
    const links = held.flatMap((name, place) => {
      const at = view?.nodes.find((node) => node.name === name)?.console;
      return [place ? ", " : "", at ? make("a", { href: at }, name) : name];
    });
    parts.push(make("p", { class: "note" }, "It is held by ", ...links, "; ask there."));
  }
  return parts;
}
