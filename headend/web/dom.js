// Small tools: elements, keyed lists that never jump, and how numbers and times are written.

import { spoken, word } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "rect", "polygon", "g", "title"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Brings `parent`'s children in line with `items`: an element whose item did not change is left alone, so that what is open stays
// open, what is focused stays focused and nothing moves that need not.
export function keyed(parent, items, key, build) {
  const kept = (parent.kept ??= new Map());
  const wanted = new Set();
  let place = parent.querySelector(":scope > .legend")?.nextSibling ?? (parent.querySelector(":scope > .legend") ? null : parent.firstChild);
  for (const item of items) {
    const id = String(key(item));
    const text = spoken() + JSON.stringify(item);
    wanted.add(id);
    let entry = kept.get(id);
    if (!entry || entry.text !== text) {
      const element = build(item);
      if (entry) {
        if (entry.element.open) element.open = true;
        const focused = entry.element.contains(document.activeElement);
        if (place === entry.element) place = element;
        entry.element.replaceWith(element);
        if (focused) (element.querySelector("summary") ?? element).focus({ preventScroll: true });
      }
      entry = { element, text };
      kept.set(id, entry);
    }
    if (place === entry.element) place = place.nextSibling;
    else parent.insertBefore(entry.element, place);
  }
  for (const [id, entry] of kept) {
    if (!wanted.has(id)) {
      entry.element.remove();
      kept.delete(id);
    }
  }
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function empty(parent, name) {
  keyed(parent, [{ name }], () => "empty", () => make("p", { class: "empty" }, word(name)));
}

// ---- numbers and times; the zone is the utility's, wherever the browser is ----

let zone = "UTC";
const formats = new Map();

export function setZone(name) {
  if (name !== zone) {
    zone = name;
    formats.clear();
  }
}

function format(kind, options) {
  const id = kind + spoken();
  if (!formats.has(id)) {
    formats.set(id, new Intl.DateTimeFormat(spoken() === "zh" ? "zh-CN" : "en-GB", { timeZone: zone, hourCycle: "h23", ...options }));
  }
  return formats.get(id);
}

export const clockTime = (ms) => format("t", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(ms);
export const shortTime = (ms) => format("s", { hour: "2-digit", minute: "2-digit" }).format(ms);
// dates as 2026-03-11 in both languages: nobody has to guess which of two numbers is the month
const isoDay = (ms) => {
  const parts = Object.fromEntries(format("d", { year: "numeric", month: "2-digit", day: "2-digit" }).formatToParts(ms).map((p) => [p.type, p.value]));
  return `${parts.year}-${parts.month}-${parts.day}`;
};
export const dateLine = (ms) => `${format("w", { weekday: "short" }).format(ms)} ${isoDay(ms)}`;
export const dayTime = (ms) => `${isoDay(ms).slice(5)} ${shortTime(ms)}`;

// "12 min" before the domain's now
export function age(iso, now) {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 45) return word("just_now");
  if (seconds < 5400) return word("minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129600) return word("hours", { n: Math.round(seconds / 3600) });
  return word("days", { n: Math.round(seconds / 86400) });
}

export const whole = (n) => n.toLocaleString(spoken() === "zh" ? "zh-CN" : "en-GB");

// A share as per cent, never rounded up to a full 100 and never down to 0: those two are statements.
export function percent(share, digits = 1) {
  if (share === null || share === undefined) return "–";
  const step = 10 ** -digits;
  let value = share * 100;
  if (value > 100 - step && value < 100) value = 100 - step;
  if (value > 0 && value < step) value = step;
  return `${value.toFixed(digits)} %`;
}
