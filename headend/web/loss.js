// The loss ranking: a bar for the rate, a line for its bounds. What is unknown is named as unknown with its cause, never drawn as 0.

import { empty, keyed, make, setText } from "./dom.js";
import { word } from "./words.js";

const body = document.getElementById("loss-body");
const foot = document.getElementById("loss-unknown");

const chosen = document.getElementById("loss-kind");
let last = null;
chosen.addEventListener("change", () => last && show(last));

export function show(all) {
  last = all;
  const loss = chosen.value === "area" ? all : all.others[chosen.value];
  const known = loss.areas.filter((area) => area.status === "known");
  const unknown = loss.areas.filter((area) => area.status !== "known");
  setText(document.getElementById("loss-note"), loss.day ? word("loss_note", { day: loss.day }) : word("loss_note_none"));
  if (!loss.areas.length) empty(body, "loss_empty");
  else {
    const bounds = known.map((area) => [rate(area, "loss_low"), rate(area, "loss_high")]);
    const low = Math.min(0, ...bounds.map((b) => b[0]));
    const high = Math.max(0.01, ...bounds.map((b) => b[1]));
    keyed(body, known.map((area) => ({ ...area, low, high })), (area) => area.area, bar);
  }
  keyed(foot, unknown, (area) => area.area, (area) =>
    make("div", { class: "area", title: area.missing.join(", ") },
      make("span", { class: "name" }, area.name),
      make("span", { class: "tag" }, area.status === "bounded" ? word("bounded") : word("unknown")),
      make("span", { class: "why", title: area.why }, because(area))));
}

const whole = (kwh) => Number(kwh).toFixed(0).replace("-", "−");
const between = (area) => (area.status === "bounded" ? `${word("between", { lo: whole(area.loss_low), hi: whole(area.loss_high) })} · ` : "");
const because = (area) => between(area) + (area.why || word("complete_of", { n: area.meters_complete, m: area.meters_due }));
const rate = (area, name) => (Number(area.supplied) ? Number(area[name]) / Number(area.supplied) : 0);
const perCent = (share) => (share * 100).toFixed(2).replace("-", "−");

function bar(area) {
  const at = (share) => ((share - area.low) / (area.high - area.low)) * 100;
  const value = area.rate ?? rate(area, "loss");
  const [from, to] = [at(Math.min(0, value)), at(Math.max(0, value))];
  const [low, high] = [rate(area, "loss_low"), rate(area, "loss_high")];
  const line = (x1, x2, y1, y2, kind) => make("line", { x1: `${x1}%`, x2: `${x2}%`, y1, y2, class: kind });
  const detail = word("loss_detail", { s: area.supplied, d: area.sold, l: area.loss, lo: area.loss_low, hi: area.loss_high });
  return make("div", { class: "area", title: `${area.area} ${area.name}: ${detail}` },
    make("span", { class: "name" }, area.name),
    make("svg", { role: "img", "aria-label": detail },
      make("rect", { x: `${from}%`, y: 3.5, width: `${Math.max(0.3, to - from)}%`, height: 9, rx: 1.5, class: value < 0 ? "bar negative" : "bar" }),
      line(at(0), at(0), 0, 16, "zero"),
      line(at(low), at(high), 8, 8, "range"), line(at(low), at(low), 5, 11, "range"), line(at(high), at(high), 5, 11, "range")),
    make("span", { class: "rate" }, `${perCent(value)} % `, make("small", {}, `± ${((high - low) * 50).toFixed(2)}`)));
}
