// Findings: severity by shape and colour, evidence on a click.

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
  if (f.state === "acknowledged") facts.push(["", word("acknowledged_by", { who: f.who })]);
  const rows = [...facts, ...Object.entries(f.evidence).map(([name, value]) => [name.replaceAll("_", " "), value])];
  return make("details", { class: `finding ${f.severity} ${f.state}` },
    make("summary", {},
      mark,
      make("span", { class: "title cut" }, f[`title_${spoken()}`] || f.title_en),
      make("span", { class: "subject mono cut" }, f.subject ?? ""),
      make("span", { class: "age cut" }, f.age)),
    make("div", { class: "inner" },
      make("dl", { class: "evidence" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, shown(value))]))));
}

function shown(value) {
  if (Array.isArray(value) && value.length > 3 && value.every((n) => typeof n === "number")) return curve(value);
  if (value !== null && typeof value === "object") {
    return Array.isArray(value) ? value.map(text).join(", ") : Object.entries(value).map(([k, v]) => `${k}: ${text(v)}`).join(", ");
  }
  return text(value);
}

const text = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

function curve(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((v, k) => `${(k / (values.length - 1)) * 178 + 1},${24 - ((v - low) / (high - low || 1)) * 22}`);
  return make("span", {},
    make("svg", { class: "spark", viewBox: "0 0 180 26", role: "img", "aria-label": values.join(", ") }, make("path", { d: `M${points.join("L")}` })),
    ` ${low} … ${high}`);
}
