// Figures as people read them.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const NONE = "–";

export const count = (number) => (number === null || number === undefined ? NONE : whole.format(number));

export function rate(number) {
  if (number === null || number === undefined) return NONE;
  return number > 0 && number < 10 ? tenth.format(number) : whole.format(number);
}

export function ms(number) {
  if (number === null || number === undefined) return NONE;
  return number < 100 ? `${tenth.format(number)} ms` : `${whole.format(number)} ms`;
}

export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${whole.format(seconds / size)} ${unit}`;
  }
  return `${whole.format(seconds)} s`;
}

export const clock = (atMs) => new Date(atMs).toLocaleTimeString("en-GB");

export function list(words) {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
