// The simulated WeChat: its call counters, and switches for its faults.
import { t } from "./text.js";

const byId = (id) => document.getElementById(id);
const all = "*";

/** Shows the simulator's counters, fault switches and pushes about the user of the phone wx. Refreshes after each call on wire. */
export function startWechat(wire, wx) {
  let stats = { calls: {}, faults: [], endpoints: [], kinds: [] };

  async function control(method, path, body) {
    const response = await fetch(`/simulator/${path}`, {
      method,
      ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
    });
    const answer = await response.json();
    if (!response.ok) {
      throw new Error(answer.error);
    }
    return answer;
  }

  let refreshing;
  async function refresh() {
    refreshing ??= control("GET", "stats").finally(() => (refreshing = undefined));
    try {
      stats = await refreshing;
    } catch {
      say(t("wechatUnavailable"));
      return;
    }
    build();
    showCounters();
    showSwitches();
  }

  /** Creates rows and switches for the simulator's endpoints and faults, once. */
  function build() {
    if (byId("kinds").children.length > 0) {
      return;
    }
    byId("target").append(...[all, ...stats.endpoints].map((endpoint) => new Option(name(endpoint), endpoint)));
    for (const endpoint of stats.endpoints) {
      const row = byId("counters").insertRow();
      row.dataset.endpoint = endpoint;
      const head = document.createElement("th");
      head.scope = "row";
      const path = document.createElement("code");
      path.textContent = endpoint;
      head.append(t(endpoint), path);
      row.append(head);
      row.insertCell().className = "count";
      row.insertCell().className = "fault";
    }
    for (const kind of stats.kinds) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "checkbox";
      input.setAttribute("role", "switch");
      input.dataset.kind = kind;
      input.addEventListener("change", () => attempt(() => (input.checked ? switchOn(kind) : switchOff(kind))));
      const words = document.createElement("span");
      words.textContent = t(`${kind}_kind`);
      label.append(input, words);
      byId("kinds").append(label);
    }
  }

  function showCounters() {
    for (const row of byId("counters").rows) {
      const endpoint = row.dataset.endpoint;
      const [, count, fault] = row.cells;
      const calls = String(stats.calls[endpoint] || 0);
      if (count.textContent !== calls) {
        const first = count.textContent === "";
        count.textContent = calls;
        if (!first) {
          count.getAnimations().forEach((animation) => animation.cancel());
          count.animate([{ backgroundColor: "var(--mark)" }, {}], 1500);
        }
      }
      const on = stats.faults.find((f) => f.endpoint === endpoint) || stats.faults.find((f) => f.endpoint === all);
      fault.textContent = on ? words(on) : t("none");
      fault.classList.toggle("on", Boolean(on));
    }
  }

  function showSwitches() {
    const on = stats.faults.find((fault) => fault.endpoint === byId("target").value);
    for (const input of byId("kinds").querySelectorAll("input")) {
      input.checked = Boolean(on) && input.dataset.kind === on.kind;
    }
  }

  async function switchOn(kind) {
    const fault = { endpoint: byId("target").value, kind };
    if (kind === "errcode" || kind === "text_json") {
      fault.errcode = byId("errcode").valueAsNumber || -1;
    }
    if (kind === "delay" || kind === "slow_body") {
      fault.delay_ms = byId("delay").valueAsNumber || 0;
    }
    if (byId("once").checked) {
      fault.times = 1;
    }
    await control("POST", "faults", fault);
    say(t("faultOn", words(fault)));
  }

  /** Ends the target's fault. The simulator can only end all faults, so the others are set again. */
  async function switchOff(kind) {
    const { faults } = await control("GET", "stats");
    await control("DELETE", "faults");
    for (const fault of faults) {
      if (fault.endpoint !== byId("target").value) {
        await control("POST", "faults", fault);
      }
    }
    say(t("faultOff", t(`${kind}_kind`)));
  }

  /** Runs work, then shows its error, if any, and the new state. */
  async function attempt(work) {
    try {
      await work();
    } catch (error) {
      say(error.message);
    }
    await refresh();
  }

  byId("target").addEventListener("change", showSwitches);
  byId("all-off").addEventListener("click", () => attempt(async () => {
    await control("DELETE", "faults");
    say(t("faultsOff"));
  }));
  byId("rotate").addEventListener("click", () => attempt(async () => {
    await control("POST", "rotate_token");
    say(t("rotated"));
  }));

  for (const button of document.querySelectorAll("[data-push]")) {
    button.addEventListener("click", () => attempt(async () => {
      const fields = button.dataset.revoke ? { RevokeInfo: button.dataset.revoke } : {};
      const { answers } = await control("POST", "push", { user: wx.user, event: button.dataset.push, fields });
      say(t("pushed", button.textContent, String(answers.at(-1).status)));
    }));
  }

  wire.addEventListener("call", refresh);
  refresh();
  setInterval(() => {
    if (document.visibilityState === "visible") {
      refresh();
    }
  }, 2000);
}

function name(endpoint) {
  return endpoint === all ? t("allCalls") : t(endpoint);
}

/** Returns a short description of a fault. */
function words(fault) {
  let text = t(`${fault.kind}_kind`);
  if (fault.errcode) {
    text += ` ${fault.errcode}`;
  }
  if (fault.delay_ms) {
    text += ` ${fault.delay_ms} ms`;
  }
  return fault.times ? t("timesLeft", text, String(fault.times)) : text;
}

function say(text) {
  byId("wechat-status").textContent = text;
}
