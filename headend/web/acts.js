// Acting on a finding: by REST, with the key of a person who may, and by his name. The page itself changes nothing.

import { make, setText } from "./dom.js";
import { word } from "./words.js";

const dialog = document.getElementById("act");
const [number, why] = [document.getElementById("act-number"), document.getElementById("act-why")];
// what is possible in which state; the head-end decides, this only saves a click in vain
const POSSIBLE = {
  new: ["acknowledge", "work-order", "close"], recurred: ["acknowledge", "work-order", "close"],
  acknowledged: ["work-order", "close"], "work-order": ["work-order", "close"],
};
let wanted = null;

export function buttons(finding) {
  const made = (POSSIBLE[finding.state] ?? []).map((act) => {
    const button = make("button", { type: "button", class: `act ${act}` }, word(`act_${act}`));
    button.addEventListener("click", () => ask(finding, act));
    return button;
  });
  return make("p", { class: "acts" }, ...made);
}

function ask(finding, act) {
  wanted = { id: finding.id, act };
  setText(dialog.querySelector("h2"), `${word(`act_${act}`).replace("…", "")} #${finding.id}`);
  setText(document.getElementById("act-trouble"), "");
  number.closest("label").hidden = act !== "work-order";
  number.required = act === "work-order";
  why.required = act === "close";
  number.value = finding.work_order ?? "";
  why.value = "";
  dialog.showModal();
  (act === "work-order" ? number : why).focus();
}

dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
document.getElementById("act-cancel").addEventListener("click", () => dialog.close());

async function send() {
  const key = sessionStorage.getItem("key");
  if (!key) {
    dialog.close();
    document.dispatchEvent(new Event("key-needed"));
    return;
  }
  const body = wanted.act === "work-order" ? { number: number.value.trim(), why: why.value.trim() } : wanted.act === "close" ? { why: why.value.trim() } : undefined;
  try {
    const answer = await fetch(`/api/v1/findings/${wanted.id}/${wanted.act}`, {
      method: "POST", body: body && JSON.stringify(body), cache: "no-store",
      headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": random() },
    });
    if (!answer.ok) throw new Error((await answer.json()).detail ?? `HTTP ${answer.status}`);
    dialog.close();
    document.dispatchEvent(new Event("acted"));
  } catch (error) {
    setText(document.getElementById("act-trouble"), error instanceof TypeError ? word("network") : error.message);
  }
}

// randomUUID would need https where the browser is on another machine
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
