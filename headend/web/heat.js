// The completeness heat map: a row for each terminal, a column for each slot of the local day. Quiet where all is there; coloured by
// cause, the stronger the more is missing. Arrow keys move a cell cursor that says the same as the pointer does.

import { dayTime, keyed, make, percent, setText, shortTime, whole } from "./dom.js";
import { spoken, word } from "./words.js";

const canvas = document.getElementById("heat");
const body = document.getElementById("heat-body");
const tip = document.getElementById("tip");
const AXIS = 18;

let heat = null;
let reasons = {};
let now = 0;
let cursor = null; // {row, slot}
let pointing = false;
let shape = null; // where things are on the canvas

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function show(data, allReasons, clock) {
  heat = data;
  reasons = allReasons;
  now = clock;
  const cut = heat.rows.length < heat.terminals_total;
  setText(
    document.getElementById("heat-note"),
    cut ? word("heat_note_cut", { k: heat.rows.length, n: heat.terminals_total }) : word("heat_note", { n: heat.terminals_total }),
  );
  legend();
  draw();
  if (cursor) describe();
}

const cause = (code) => reasons[code]?.[spoken()] ?? code;
const brief = (code) => (word(`c_${code}`) === `c_${code}` ? cause(code) : word(`c_${code}`));

function legend() {
  const counts = new Map(heat.causes.map((code) => [code, 0]));
  for (const row of heat.rows) {
    row.missing.forEach((n, k) => n && counts.set(heat.causes[row.cause[k]], counts.get(heat.causes[row.cause[k]]) + n));
  }
  const items = heat.rows.length ? [{ code: "complete", text: word("complete") }] : [];
  for (const [code, n] of counts) if (n) items.push({ code, text: brief(code), n });
  keyed(document.getElementById("heat-legend"), items, (i) => i.code, (i) => {
    const swatch = make("i");
    swatch.style.setProperty("--swatch", i.code === "complete" ? "var(--cell)" : `var(--c-${i.code})`);
    return make("span", { class: "key", title: cause(i.code) }, swatch, i.text, i.n ? make("b", {}, whole(i.n)) : null);
  });
}

export function draw() {
  if (!heat) return;
  const narrow = body.clientWidth < 560;
  const width = body.clientWidth - 24;
  const left = narrow ? 46 : 172;
  const right = 54;
  const room = Math.max(0, body.clientHeight - AXIS - 6);
  const rows = heat.rows.length;
  const tall = Math.max(13, Math.min(22, Math.floor(narrow ? 14 : room / Math.max(1, rows))));
  const height = AXIS + Math.max(rows, 1) * tall + 4;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
  }
  const cell = (width - left - right) / heat.width;
  shape = { left, cell, tall, rows };
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const font = getComputedStyle(document.body).fontFamily;
  const colours = { text: css("--text"), faint: css("--faint"), cell: css("--cell"), none: css("--cell-none"), accent: css("--accent"),
    alarm: css("--c-offline"), good: css("--good"), line: css("--line"), warn: css("--warn") };
  const fills = heat.causes.map((code) => css(`--c-${code}`) || colours.faint);
  pen.textBaseline = "middle";

  if (!rows) {
    pen.font = `13px ${font}`;
    pen.fillStyle = colours.faint;
    pen.fillText(word("heat_empty"), 0, AXIS + tall / 2, width);
    return;
  }
  // the axis: a slot is named by its end, so the tick "03" stands where the slot ending 03:00 closes
  const begin = Date.parse(heat.slots[0]) - 900000;
  const perHour = heat.width / Math.round((heat.width * 900000) / 3600000);
  pen.font = `11px ${font}`;
  pen.fillStyle = colours.faint;
  pen.textAlign = "center";
  const every = narrow ? 6 : cell * perHour < 24 ? 3 : 2;
  for (let hour = 0; hour * perHour <= heat.width; hour += every) {
    const x = left + hour * perHour * cell;
    pen.fillText(shortTime(begin + hour * 3600000).slice(0, 5), Math.min(Math.max(x, left + 4), width - right - 6), AXIS / 2);
  }
  const gap = cell >= 4 ? 1 : 0;
  heat.rows.forEach((row, r) => {
    const y = AXIS + r * tall;
    pen.textAlign = "left";
    pen.font = `${tall < 14 ? 10.5 : 12}px ${font}`;
    pen.fillStyle = row.online ? colours.good : colours.alarm;
    pen.beginPath();
    pen.arc(4, y + tall / 2, 3, 0, 7);
    if (row.online) pen.fill();
    else {
      pen.lineWidth = 1.6;
      pen.strokeStyle = colours.alarm;
      pen.stroke();
    }
    pen.fillStyle = colours.text;
    pen.fillText(row.terminal, 12, y + tall / 2, left - 14);
    if (!narrow) {
      const at = 12 + pen.measureText(row.terminal).width + 8;
      pen.fillStyle = colours.faint;
      pen.fillText(clip(pen, row.name, left - 10 - at), at, y + tall / 2);
    }
    let due = 0;
    let missing = 0;
    for (let k = 0; k < heat.width; k += 1) {
      const x = left + k * cell;
      due += row.due[k];
      missing += row.missing[k];
      pen.globalAlpha = 1;
      pen.fillStyle = row.due[k] ? colours.cell : colours.none;
      pen.fillRect(x, y, cell - gap, tall - 1);
      if (row.missing[k]) {
        pen.globalAlpha = 0.34 + 0.66 * (row.missing[k] / row.due[k]);
        pen.fillStyle = fills[row.cause[k]];
        pen.fillRect(x, y, cell - gap, tall - 1);
      }
    }
    pen.globalAlpha = 1;
    pen.textAlign = "right";
    pen.fillStyle = !due ? colours.faint : missing ? colours.text : colours.faint;
    pen.fillText(due ? percent(1 - missing / due) : "–", width, y + tall / 2);
  });
  const share = (now - begin) / (heat.width * 900000);
  if (share > 0 && share < 1) {
    const x = Math.round(left + share * heat.width * cell) + 0.5;
    pen.strokeStyle = colours.accent;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, AXIS - 3);
    pen.lineTo(x, AXIS + rows * tall);
    pen.stroke();
  }
  if (cursor && cursor.row < rows) {
    pen.strokeStyle = colours.text;
    pen.lineWidth = 1.5;
    pen.strokeRect(left + cursor.slot * cell - 0.5, AXIS + cursor.row * tall - 0.5, Math.max(cell, 3), tall);
  }
}

function clip(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return `${kept}…`;
}

function describe() {
  const row = heat.rows[cursor.row];
  if (!row) return leave();
  const k = cursor.slot;
  const slot = shortTime(Date.parse(heat.slots[0]) + k * 900000);
  const future = Date.parse(heat.slots[0]) + k * 900000 > now;
  const what = row.missing[k]
    ? word("cell_missing", { n: row.missing[k], m: row.due[k], cause: cause(heat.causes[row.cause[k]]) })
    : row.due[k] ? word("cell_full", { m: row.due[k] }) : word(future ? "cell_future" : "cell_none");
  const seen = row.last_seen ? word("seen", { at: dayTime(Date.parse(row.last_seen)) }) : word("seen_never");
  const lines = [word("cell", { terminal: row.terminal, name: row.name, slot }), what, `${word(row.online ? "online" : "offline")} · ${seen}`];
  setText(document.getElementById("heat-cell"), lines.join(". "));
  tip.replaceChildren(...lines.map((line, n) => make("p", {}, n ? line : make("b", {}, line))));
  tip.hidden = false;
  const frame = canvas.getBoundingClientRect();
  const x = frame.left + shape.left + (k + 0.5) * shape.cell;
  const y = frame.top + AXIS + cursor.row * shape.tall;
  const size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, window.innerWidth - size.width - 8))}px`;
  tip.style.top = `${y + shape.tall + 8 + size.height > window.innerHeight ? y - size.height - 8 : y + shape.tall + 8}px`;
  return undefined;
}

function leave() {
  cursor = null;
  tip.hidden = true;
  draw();
}

function move(row, slot) {
  cursor = { row: Math.max(0, Math.min(shape.rows - 1, row)), slot: Math.max(0, Math.min(heat.width - 1, slot)) };
  draw();
  describe();
}

canvas.addEventListener("pointermove", (event) => {
  if (!shape || !heat.rows.length) return;
  const row = Math.floor((event.offsetY - AXIS) / shape.tall);
  const slot = Math.floor((event.offsetX - shape.left) / shape.cell);
  pointing = true;
  if (row < 0 || row >= shape.rows || slot < 0 || slot >= heat.width) leave();
  else if (!cursor || cursor.row !== row || cursor.slot !== slot) move(row, slot);
});
canvas.addEventListener("pointerleave", () => {
  pointing = false;
  leave();
});
canvas.addEventListener("blur", () => !pointing && leave());
canvas.addEventListener("keydown", (event) => {
  if (!shape || !heat.rows.length) return;
  const at = cursor ?? { row: 0, slot: Math.max(0, heat.rows[0].due.findLastIndex((n) => n > 0)) };
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [0, -4], PageDown: [0, 4] };
  if (event.key in steps) {
    event.preventDefault();
    if (cursor) move(at.row + steps[event.key][0], at.slot + steps[event.key][1]);
    else move(at.row, at.slot);
  } else if (event.key === "Escape") leave();
});
new ResizeObserver(() => draw()).observe(body);
