// Making and changing elements so that what has the focus stays, and nothing is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const make = (tag, attributes = {}, ...children) =>
  build(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

// Text that is the same is not set again: a live region would say it again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function put(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// One child for each item, known by its key: made once, filled each time, moved only if it must be.
const known = new WeakMap();

export function keyed(parent, items, keyOf, create, fill) {
  const before = known.get(parent) ?? new Map();
  const now = new Map();
  let place = null;
  for (const item of items) {
    const key = keyOf(item);
    const entry = before.get(key) ?? create(item);
    now.set(key, entry);
    fill(entry, item);
    const next = place === null ? parent.firstChild : place.nextSibling;
    if (next !== entry.element) parent.insertBefore(entry.element, next);
    place = entry.element;
  }
  for (const [key, entry] of before) if (!now.has(key)) entry.element.remove();
  known.set(parent, now);
}
