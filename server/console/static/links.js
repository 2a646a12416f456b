// Round trips between regions, as a matrix: from the row's region to the column's.

import { byId, keyed, make, put, say } from "./dom.js";
import { ms } from "./format.js";

export function show(view) {
  const regions = [...new Set(view.nodes.map((node) => node.region))];
  const links = new Map(view.links.map((link) => [`${link.from}\n${link.to}`, link]));
  const most = Math.max(1, ...view.links.map((link) => link.least_ms ?? 0));
  keyed(byId("links-head"), ["", ...regions], (name) => name, head, () => {});
  keyed(byId("links-rows"), regions, (name) => name, row, (entry, from) =>
    keyed(entry.element, ["", ...regions], (name) => name,
      (name) => (name === "" ? { element: make("th", { scope: "row" }, from) } : cell()),
      (inner, to) => { if (to !== "") fill(inner, from, to, links.get(`${from}\n${to}`), most); }));
}

const head = (name) => ({
  element: name === "" ? make("td", {}) : make("th", { scope: "col" }, name),
});
const row = () => ({ element: make("tr", {}) });

function cell() {
  const value = make("span", {});
  const more = make("small", {});
  return { element: make("td", {}, value, more), value, more };
}

function fill(entry, from, to, link, most) {
  const { element, value, more } = entry;
  let [state, text, extra] = ["none", from === to ? "·" : "no word", ""];
  if (link && link.pairs) {
    const down = link.pairs - link.connected;
    state = down ? "bad" : "good";
    text = link.least_ms === null ? (down ? "down" : "not measured yet") : ms(link.least_ms);
    if (down && link.connected) extra = `${down} of ${link.pairs} down`;
    else if (link.pairs > 1 && link.most_ms !== link.least_ms) extra = `to ${ms(link.most_ms)}`;
  }
  put(element, "data-state", state);
  element.style.setProperty("--share", link?.least_ms ? (link.least_ms / most).toFixed(2) : "0");
  say(value, text);
  say(more, extra);
}
