// Commit latency: a small chart for each node, all to one scale, with what it says in words below.

import { byId, draw, keyed, make, put, say } from "./dom.js";
import { ms } from "./format.js";

const SPAN_MS = 300_000;
const GAP_MS = 7_000;
const CHARTS_MAX = 6;
const TELL_EVERY_MS = 10_000;
const HEIGHT = 168;
const FITS = 0.95;
const MARGIN = { top: 10, right: 8, bottom: 22, left: 48 };

const courses = new Map();

// Replaces what is known of a node: a stream that begins tells the last minutes again.
export function begin(course) {
  for (const [node, samples] of Object.entries(course)) courses.set(node, samples);
}

export function add(view) {
  for (const node of view.nodes) {
    const samples = courses.get(node.name) ?? [];
    if (node.latency && samples.at(-1)?.at_ms !== node.latency.at_ms) samples.push(node.latency);
    while (samples.length && samples[0].at_ms < view.at_ms - SPAN_MS) samples.shift();
    courses.set(node.name, samples);
  }
  for (const name of courses.keys()) {
    if (!view.nodes.some((node) => node.name === name)) courses.delete(name);
  }
}

export function show(view) {
  say(byId("target-name"), `target ${view.target_ms} ms`);
  const nodes = chosen(view);
  const scale = scaleOf(nodes, view.target_ms);
  keyed(byId("charts"), nodes, (node) => node.name, create, (entry, node) =>
    fill(entry, node, view, scale));
}

// With many nodes this one and one that is picked; else all.
function chosen(view) {
  const own = view.nodes.filter((node) => node.name === view.node);
  const others = view.nodes.filter((node) => node.name !== view.node);
  const picker = byId("latency-node");
  const few = view.nodes.length <= CHARTS_MAX;
  byId("latency-choice").hidden = few;
  if (few) return view.nodes;
  keyed(picker, others, (node) => node.name, (node) => ({ element: make("option", { value: node.name }, node.name) }), () => {});
  return [...own, ...others.filter((node) => node.name === picker.value)];
}

// Most of what there is fits; what few samples are above it ends at the upper edge, and is marked.
function scaleOf(nodes, target) {
  const known = nodes.flatMap((node) => courses.get(node.name)).map((s) => s.p99_ms).filter((ms) => ms !== null);
  const most = known.sort((a, b) => a - b)[Math.floor(FITS * (known.length - 1))] ?? 0;
  const wanted = Math.max(1.5 * target, 1.15 * most);
  const unit = 10 ** Math.floor(Math.log10(wanted));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * unit).find((step) => step >= wanted);
}

function create(node) {
  const id = `chart-${node.name}`;
  const now = make("p", { class: "figures" });
  const picture = draw("svg", { role: "img", "aria-labelledby": `${id}-name ${id}-words` });
  const words = make("figcaption", { id: `${id}-words` });
  const element = make("figure", { class: "chart" },
    make("div", { class: "chart-head" }, make("h3", { id: `${id}-name` }, node.name), now), picture, words);
  const entry = { element, now, picture, words, toldAt: 0, width: 0 };
  new ResizeObserver(() => { if (entry.again) entry.again(); }).observe(element);
  return entry;
}

function fill(entry, node, view, scale) {
  const samples = courses.get(node.name);
  const last = samples.at(-1);
  entry.now.replaceChildren(
    make("span", {}, make("small", {}, "P50"), ` ${ms(last?.p50_ms)}`),
    make("span", { class: (last?.p99_ms ?? 0) > view.target_ms ? "over" : null },
      make("small", {}, "P99"), ` ${ms(last?.p99_ms)}`));
  if (view.at_ms - entry.toldAt >= TELL_EVERY_MS) {
    entry.toldAt = view.at_ms;
    say(entry.words, inWords(samples, view.target_ms));
  }
  entry.again = () => paint(entry, samples, view, scale);
  entry.again();
}

function inWords(samples, target) {
  const known = samples.filter((sample) => sample.p99_ms !== null);
  if (!known.length) return "No writes in the last minutes.";
  const of = (name) => known.map((sample) => sample[name]);
  const range = (values) => [...new Set([ms(Math.min(...values)), ms(Math.max(...values))])].join(" to ");
  const over = known.filter((sample) => sample.p99_ms > target).length;
  const verdict = over ? `P99 above the target in ${over} of ${known.length} samples` : "P99 never above the target";
  return `P50 ${range(of("p50_ms"))}, P99 ${range(of("p99_ms"))}; ${verdict}.`;
}

function paint(entry, samples, view, scale) {
  const width = Math.max(220, Math.round(entry.element.clientWidth));
  const right = width - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const x = (at) => right - ((view.at_ms - at) / SPAN_MS) * (right - MARGIN.left);
  const y = (value) => bottom - (Math.min(value, scale) / scale) * (bottom - MARGIN.top);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const at = y(share * scale);
    parts.push(draw("path", { class: "grid", d: `M${MARGIN.left} ${at}H${right}` }));
    parts.push(draw("text", { class: "tick end", x: MARGIN.left - 8, y: at + 4 }, `${+(share * scale).toFixed(1)}${share === 1 ? " ms" : ""}`));
  }
  for (const minutes of [4, 2, 0]) {
    const anchor = minutes ? "middle" : "end";
    parts.push(draw("text", { class: `tick ${anchor}`, x: x(view.at_ms - minutes * 60_000), y: HEIGHT - 4 },
      minutes ? `−${minutes} min` : "now"));
  }
  for (const run of runs(samples)) {
    const line = (name) => run.map((s, i) => `${i ? "L" : "M"}${x(s.at_ms).toFixed(1)} ${y(s[name]).toFixed(1)}`).join("");
    if (run.length === 1) {
      for (const name of ["p99", "p50"]) {
        parts.push(draw("circle", { class: `${name} point`, cx: x(run[0].at_ms), cy: y(run[0][`${name}_ms`]), r: 1.8 }));
      }
      continue;
    }
    const back = [...run].reverse().map((s) => `L${x(s.at_ms).toFixed(1)} ${y(s.p50_ms).toFixed(1)}`).join("");
    parts.push(draw("path", { class: "band", d: `${line("p99_ms")}${back}Z` }));
    parts.push(draw("path", { class: "p99", d: line("p99_ms") }));
    parts.push(draw("path", { class: "p50", d: line("p50_ms") }));
  }
  for (const s of samples.filter((sample) => sample.p99_ms > scale)) {
    const at = x(s.at_ms);
    parts.push(draw("path", { class: "beyond", d: `M${at - 4} ${MARGIN.top}h8l-4 -6z` }));
  }
  parts.push(draw("path", { class: "target", d: `M${MARGIN.left} ${y(view.target_ms)}H${right}` }));
  put(entry.picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
  entry.picture.replaceChildren(...parts);
}

// Pieces without a gap.
function runs(samples) {
  const found = [];
  let before = null;
  for (const sample of samples) {
    if (sample.p99_ms === null) {
      before = null;
      continue;
    }
    if (before === null || sample.at_ms - before.at_ms > GAP_MS) found.push([]);
    found.at(-1).push(sample);
    before = sample;
  }
  return found;
}

