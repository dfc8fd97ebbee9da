// Commands: how far each one is on its way from wanted to verified, and what came of it.

import { age, clockTime, empty, keyed, make, setText, shortTime } from "./dom.js";
import { word } from "./words.js";

const body = document.getElementById("commands-body");
const WAY = ["wanted", "approved", "sending", "answered", "pending", "verified"];
const MOOD = { verified: "good", failed: "bad", refused: "idle", expired: "idle", cancelled: "idle", unknown: "doubt", wanted: "doubt" };

export function show(commands, open, now) {
  setText(document.getElementById("commands-note"), word("commands_note", { n: open }));
  let legend = body.querySelector(".legend");
  if (!legend) body.prepend((legend = make("div", { class: "legend", "aria-hidden": "true" })));
  legend.replaceChildren(...["number", "action", "meter", "progress", "state", "age"].map((name) => make("span", {}, word(`h_${name}`))));
  if (!commands.length) return empty(body, "commands_empty");
  return keyed(body, commands.map((c) => ({ ...c, age: age(c.requested_at, now) })), (c) => c.id, command);
}

const stateWord = (state) => word(state === "unknown" ? "unknown_state" : state);

function command(c) {
  const mood = MOOD[c.state] ?? "going";
  const action = word(`${c.kind}_${c.action}`);
  return make("details", { class: `command ${c.open ? "open" : "closed"}` },
    make("summary", {},
      make("span", { class: "number mono" }, `#${c.id}`),
      make("span", { class: "action cut" }, action),
      make("span", { class: "meter mono cut" }, c.meter ?? c.terminal),
      make("span", { class: "progress" }, track(c)),
      make("span", { class: "outcome cut", title: c.outcome },
        make("span", { class: `state ${mood}` }, stateWord(c.state)), c.outcome ? ` · ${c.outcome}` : ""),
      make("span", { class: "age cut" }, c.age)),
    make("div", { class: "inner" },
      make("div", { class: "steps" }, ...c.steps.flatMap((step) => [
        make("time", {}, clockTime(Date.parse(step.at))),
        make("span", {}, stateWord(step.state)),
        make("span", { class: "who" }, step.who),
        make("span", {}, step.detail)])),
      make("p", {}, [`${word("reason")}: ${c.reason}`, word("asked_by", { who: c.requested_by }),
        c.approved_by ? word("approved_by", { who: c.approved_by }) : null,
        c.open ? word("void_after", { at: shortTime(Date.parse(c.expires_at)) }) : null].filter(Boolean).join(" · "))));
}

// Six stations. Those passed are filled; the present one is ringed while the order is open; an end off the way (failed, refused, …)
// marks the last station reached.
function track(c) {
  const passed = new Set(c.steps.map((step) => step.state));
  const reached = Math.max(0, ...c.steps.map((step) => WAY.indexOf(step.state)));
  const sent = passed.has("sending") ? Math.max(reached, 2) : reached;
  const x = (k) => 8 + k * 30;
  const mood = MOOD[c.state] ?? "going";
  const parts = [];
  for (let k = 0; k < WAY.length - 1; k += 1) {
    parts.push(make("line", { x1: x(k) + 4, x2: x(k + 1) - 4, y1: 8, y2: 8, class: k < sent ? "done" : null }));
  }
  WAY.forEach((state, k) => {
    let kind = null;
    if (k === sent) kind = c.open && c.state !== "unknown" ? "now" : `end ${mood}`;
    else if (k < sent && passed.has(state)) kind = "done";
    parts.push(make("circle", { cx: x(k), cy: 8, r: kind ? 5 : 4, class: kind }, make("title", {}, stateWord(state))));
  });
  return make("svg", { class: "track", viewBox: "0 0 168 16", role: "img", "aria-label": word("track", { state: stateWord(c.state) }) }, ...parts);
}
