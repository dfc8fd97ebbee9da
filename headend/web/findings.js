// Findings: severity by shape and colour, how far each is beside it, evidence and what can be done on a click.

import { buttons } from "./acts.js";
import { age, dayTime, empty, keyed, make, setText } from "./dom.js";
import { spoken, word } from "./words.js";

const body = document.getElementById("findings-body");
const SHAPES = {
  alarm: () => make("polygon", { points: "7,1 13.5,12.5 0.5,12.5" }),
  warning: () => make("polygon", { points: "7,0.5 13.5,7 7,13.5 0.5,7" }),
  info: () => make("circle", { cx: 7, cy: 7, r: 4.5 }),
};

export function show(findings, count, now) {
  setText(document.getElementById("findings-note"), word("findings_note", { n: count }));
  if (!findings.length) return empty(body, "findings_empty");
  return keyed(body, findings.map((f) => ({ ...f, age: age(f.first_seen, now) })), (f) => f.id, finding);
}

function finding(f) {
  const mark = make("svg", { class: "mark", viewBox: "0 0 14 14", role: "img", "aria-label": f.severity }, SHAPES[f.severity]());
  const facts = [[word("rule"), `${f.rule} (v${f.rule_version})`], [word("day"), f.day], [word("found_at"), dayTime(Date.parse(f.first_seen))]];
  if (f.days > 1) facts.push([word("seen_on"), word("of_days", { n: f.days, day: f.first_day })]);
  if (f.again_of) facts.push([word("f_recurred"), word("again_of", { n: f.again_of })]);
  if (f.state === "acknowledged") facts.push(["", word("acknowledged_by", { who: f.who })]);
  if (f.work_order) facts.push([word("f_work-order"), `${f.work_order} · ${f.who ?? ""}`]);
  const rows = [...facts, ...Object.entries(f.evidence).map(([name, value]) => [name.replaceAll("_", " "), value])];
  return make("details", { class: `finding ${f.severity} ${f.state}` },
    make("summary", {},
      mark,
      make("span", { class: "title cut" }, f.state === "new" ? null : make("span", { class: `life ${f.state}` }, word(`f_${f.state}`)),
        f.days > 1 ? make("span", { class: "life" }, word("days", { n: f.days })) : null, f[`title_${spoken()}`] || f.title_en),
      make("span", { class: "subject mono cut" }, f.subject ?? ""),
      make("span", { class: "age cut" }, f.age)),
    make("div", { class: "inner" },
      make("dl", { class: "evidence" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, shown(value))])),
      buttons(f)));
}

function shown(value) {
  if (Array.isArray(value) && value.length > 3 && value.every((n) => n === null || typeof n === "number")) return curve(value);
  if (value !== null && typeof value === "object") {
    return Array.isArray(value) ? value.map(text).join(", ") : Object.entries(value).map(([k, v]) => `${k}: ${text(v)}`).join(", ");
  }
  return text(value);
}

const text = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

// A gap breaks the line: what was not measured is not drawn.
function curve(values) {
  const there = values.filter((v) => v !== null);
  if (!there.length) return "–";
  const [low, high] = [Math.min(...there), Math.max(...there)];
  let pen = "M";
  const points = values.map((v, k) => {
    const to = v === null ? "" : `${pen}${(k / (values.length - 1)) * 178 + 1},${24 - ((v - low) / (high - low || 1)) * 22}`;
    pen = v === null ? "M" : "L";
    return to;
  });
  return make("span", {},
    make("svg", { class: "spark", viewBox: "0 0 180 26", role: "img", "aria-label": values.map((v) => v ?? "–").join(", ") }, make("path", { d: points.join("") })),
    ` ${low} … ${high}`);
}
