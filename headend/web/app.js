// The page: asks for the data every few seconds, keeps the domain's clock running between answers, and says how old everything is.

import * as commands from "./commands.js";
import { clockTime, dateLine, keyed, make, percent, setText, setZone, shortTime, whole } from "./dom.js";
import * as findings from "./findings.js";
import * as heat from "./heat.js";
import * as loss from "./loss.js";
import { speak, spoken, word } from "./words.js";

const POLL_MS = 3000; // a duty engineer notices within a breath; the answer is shared by all consoles, so it costs next to nothing
const HIDDEN_MS = 15000; // nobody is looking
const STALE_S = 12; // four polls in vain
const PATIENCE_MS = 8000;
const ACTED_MS = 1200; // by then a snapshot has been taken that knows of it

const at = (id) => document.getElementById(id);
const state = { data: null, etag: null, arrived: 0, failedSince: 0, why: "", clock: null, key: sessionStorage.getItem("key") ?? "" };

// ---- asking ----

let timer = 0;

async function poll() {
  clearTimeout(timer);
  try {
    const headers = {};
    if (state.etag) headers["If-None-Match"] = state.etag;
    if (state.key) headers.Authorization = `Bearer ${state.key}`;
    const answer = await fetch("/console/data", { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401 || answer.status === 403) return askForKey();
    if (answer.status !== 304 && !answer.ok) throw new Error(`HTTP ${answer.status}`);
    tick(answer.headers.get("Headend-Clock"));
    if (answer.status !== 304) {
      state.data = await answer.json();
      state.etag = answer.headers.get("ETag");
    }
    state.arrived = performance.now();
    state.failedSince = 0;
    document.body.classList.remove("loading");
    render();
  } catch (error) {
    state.failedSince ||= performance.now();
    state.why = error.name === "TimeoutError" ? `${PATIENCE_MS / 1000} s` : error instanceof TypeError ? word("network") : error.message;
  }
  freshness();
  timer = setTimeout(poll, document.hidden ? HIDDEN_MS : POLL_MS);
  return undefined;
}

function askForKey() {
  const dialog = at("key");
  if (state.key) setText(dialog.querySelector("p"), word("denied"));
  state.key = "";
  sessionStorage.removeItem("key");
  if (!dialog.open) dialog.showModal();
}

at("key").addEventListener("close", () => {
  state.key = at("key-input").value.trim();
  at("key-input").value = "";
  if (state.key) sessionStorage.setItem("key", state.key);
  poll();
});

document.addEventListener("key-needed", () => {
  setText(at("key").querySelector("p"), word("key_act"));
  if (!at("key").open) at("key").showModal();
});
document.addEventListener("acted", () => setTimeout(poll, ACTED_MS));
document.addEventListener("visibilitychange", () => !document.hidden && poll());

// ---- the domain's clock: it may run faster than ours (a demo), so its pace is measured from answer to answer ----

function tick(text) {
  if (!text) return;
  const moment = { domain: Date.parse(text), real: performance.now() };
  const before = state.clock;
  let pace = before?.pace ?? 1;
  if (before && moment.real - before.real > 1000) pace = Math.max(0, (moment.domain - before.domain) / (moment.real - before.real));
  state.clock = { ...moment, pace };
}

const domainNow = () => (state.clock ? state.clock.domain + (performance.now() - state.clock.real) * state.clock.pace : 0);

function runClock() {
  if (!state.clock) return;
  const now = domainNow();
  setText(at("clock"), clockTime(now));
  setText(at("date"), dateLine(now));
  const pace = Math.round(state.clock.pace);
  at("pace").hidden = pace <= 1;
  if (pace > 1) setText(at("pace"), word("pace", { n: pace }));
}

function freshness() {
  const now = performance.now();
  const old = Math.round((now - state.arrived) / 1000);
  const lost = state.failedSince && (!state.arrived || now - state.failedSince > STALE_S * 500);
  const kind = lost ? "lost" : state.arrived && old >= STALE_S ? "stale" : state.arrived ? "fresh" : "";
  for (const name of ["fresh", "stale", "lost"]) document.body.classList.toggle(name, name === kind);
  const text = kind === "lost" ? word("lost", { n: Math.round((now - state.failedSince) / 1000) }) : kind ? word(kind, { n: old }) : word("loading");
  setText(at("freshness").querySelector(".text"), text);
  at("trouble").hidden = !lost;
  if (lost) setText(at("trouble"), word(state.clock ? "trouble" : "trouble_first", { why: state.why, at: state.clock ? clockTime(state.clock.domain) : "" }));
}

// ---- showing ----

function render() {
  const data = state.data;
  if (!data) return;
  setZone(data.zone);
  setText(at("zone"), data.zone);
  const now = domainNow();
  figures(data);
  heat.show(data.heat, data.reasons, now);
  loss.show(data.loss);
  const fresh = data.overview.findings_new;
  findings.show(data.findings, fresh.alarm + fresh.warning + fresh.info, now);
  commands.show(data.commands, data.overview.commands_open, now);
  runClock();
}

function figures({ overview, rates, orderly }) {
  const { today, yesterday } = rates;
  const states = overview.commands_by_state;
  const levels = overview.balances_by_level;
  const fresh = overview.findings_new;
  const away = overview.terminals - overview.terminals_online;
  const missing = today.curve_due - today.curve_present;
  const notes = (...list) => list.filter(([n]) => n > 0).map(([n, name, kind]) => ({ text: word(name, { n: whole(n) }), kind }));
  const items = [
    { name: "terminals", value: whole(overview.terminals_online), of: whole(overview.terminals),
      more: notes([away - overview.terminals_never_seen, "offline_n", "alarm"], [overview.terminals_never_seen, "never_seen", "warn"]), calm: overview.terminals ? "all_online" : "no_terminals" },
    { name: "meters", value: whole(overview.meters), more: [], plain: word("areas_customers", { a: whole(overview.areas), c: whole(overview.customers) }) },
    { name: "completeness", value: percent(today.integrity, 2), more: [],
      plain: !today.curve_due ? word("nothing_due") : missing ? word("missing_of", { n: whole(missing), m: whole(today.curve_due) }) : word("all_there") },
    { name: "once", value: percent(yesterday.once_rate, 2), more: [],
      plain: yesterday.freeze_due ? word("once_more", { day: yesterday.day.slice(5), n: whole(yesterday.freeze_first_attempt), m: whole(yesterday.freeze_due) }) : word("nothing_due") },
    { name: "open_commands", value: whole(overview.commands_open), more: notes([states.wanted ?? 0, "awaiting", "warn"], [states.unknown ?? 0, "unknown_n", "alarm"]),
      calm: overview.commands_open ? "under_way" : "none_open" },
    { name: "new_findings", value: whole(fresh.alarm + fresh.warning + fresh.info), more: notes([fresh.alarm, "alarms", "alarm"], [fresh.warning, "warnings", "warn"]), calm: "quiet" },
    { name: "balances", value: Object.keys(levels).length ? whole(Object.values(levels).reduce((a, b) => a + b, 0)) : "–",
      more: notes([levels.stop ?? 0, "to_stop", "alarm"], [(levels.warn1 ?? 0) + (levels.warn2 ?? 0), "to_warn", "warn"]),
      calm: Object.keys(levels).length ? "balances_ok" : "no_balances" },
  ];
  // only while a plan of orderly use is under way, or somebody is still held by one that is over
  if (orderly.length) items.push(plans(orderly, notes));
  keyed(at("figures"), items, (item) => item.name, (item) => {
    const more = item.more.length ? item.more.flatMap((note, k) => [k ? " · " : "", make("b", { class: note.kind }, note.text)]) : [item.plain ?? word(item.calm)];
    return make("div", { class: "figure" },
      make("div", { class: "label" }, word(item.name)),
      make("div", { class: "value" }, item.value, item.of ? make("small", {}, ` / ${item.of}`) : null),
      make("div", { class: "more" }, ...more));
  });
}

function plans(orderly, notes) {
  const [first, ...others] = [...orderly].sort((a, b) => (a.state === "running" ? 0 : 1) - (b.state === "running" ? 0 : 1));
  const over = first.state === "ended" || first.state === "withdrawn";
  const values = { name: first.name, kw: whole(Math.round(first.reduce_kw)), at: shortTime(Date.parse(over ? first.ends : first.begins)), n: others.length };
  return { name: "orderly", value: whole(first.held), of: whole(first.participants),
    more: over ? notes([first.held + first.unsure, "still_held", "alarm"]) : notes([first.unsure, "not_read_back", "warn"]),
    plain: word(others.length ? "orderly_more" : `orderly_${first.state}`, values) };
}

// ---- language and theme ----

function words() {
  document.documentElement.lang = spoken() === "zh" ? "zh-CN" : "en";
  document.title = word("title");
  for (const element of document.querySelectorAll("[data-word]")) setText(element, word(element.dataset.word));
  setText(at("language"), spoken() === "zh" ? "English" : "中文");
  render();
  freshness();
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const chosen = localStorage.getItem("theme") ?? "auto";
  document.documentElement.dataset.theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
  setText(at("theme"), { auto: "◐", light: "☀", dark: "☾" }[chosen]);
  heat.draw();
}

at("language").addEventListener("click", () => {
  speak(spoken() === "zh" ? "en" : "zh");
  localStorage.setItem("language", spoken());
  words();
});
at("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  localStorage.setItem("theme", order[(order.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % 3]);
  theme();
});
dark.addEventListener("change", theme);

speak(localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
theme();
words();
poll();
setInterval(() => {
  runClock();
  freshness();
}, 250);
