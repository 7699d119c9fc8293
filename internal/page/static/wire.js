// Network requests: Wire sends them, showWire lists them.
import { t, translate } from "./text.js";

/** The number of calls in the list. */
const most = 100;

/** Sends requests. It emits "call" when a request starts and when it ends. */
export class Wire extends EventTarget {
  /**
   * Posts JSON text or a FormData of files, and resolves with status, headers
   * and body. Rejects if no answer arrives within timeout milliseconds.
   */
  async post(url, { headers, body, timeout, note = "" }) {
    const start = performance.now();
    const call = { at: new Date(), url: new URL(url, location.href), headers, body, note, running: true };
    this.tell(call);
    try {
      // The session is in a header, as on a phone; a cookie would hide errors in it.
      const response = await fetch(url, { method: "POST", headers, body, credentials: "omit", signal: AbortSignal.timeout(timeout) });
      call.status = response.status;
      call.requestId = response.headers.get("X-Request-Id") || "";
      call.retryAfter = response.headers.get("Retry-After") || "";
      call.answer = await response.text();
      return { status: response.status, headers: response.headers, body: call.answer };
    } catch (error) {
      call.status = 0;
      call.answer = String(error);
      throw error;
    } finally {
      call.running = false;
      call.took = performance.now() - start;
      this.tell(call);
    }
  }

  tell(call) {
    this.dispatchEvent(new CustomEvent("call", { detail: call }));
  }
}

/** Returns the call as a command line for a POSIX shell. */
export function curl(call) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const headers = Object.entries(call.headers).map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`);
  // curl needs double quotes if a file name contains its separators.
  const path = (name) => (/[",;\\]/.test(name) ? JSON.stringify(name) : name);
  const body = isForm(call)
    ? [...call.body].map(([field, file]) => ` -F ${quoted(`${field}=@${path(file.name)}`)}`)
    : [` -d ${quoted(call.body)}`];
  return `curl -i ${quoted(call.url.href)}${headers.join("")}${body.join("")}`;
}

const isForm = (call) => call.body instanceof FormData;

/** Shows the calls of wire in the page's list, newest first. */
export function showWire(wire) {
  const list = document.getElementById("calls");
  const empty = document.getElementById("wire-empty");
  const status = document.getElementById("wire-status");
  const template = document.getElementById("call-template");
  const items = new WeakMap();
  let opened; // the newest call, which was opened automatically

  wire.addEventListener("call", ({ detail: call }) => {
    let item = items.get(call);
    if (!item) {
      item = template.content.firstElementChild.cloneNode(true);
      items.set(call, item);
      translate(item);
      fillRequest(item, call);
      const details = item.querySelector("details");
      item.querySelector("summary").addEventListener("click", () => {
        if (opened === details) {
          opened = undefined; // the user controls it now
        }
      });
      item.querySelector(".copy").addEventListener("click", async () => {
        status.textContent = t((await copy(curl(call))) ? "copied" : "notCopied");
        item.querySelector(".copy").textContent = status.textContent;
        setTimeout(() => (item.querySelector(".copy").textContent = t("copyCurl")), 2000);
      });
      if (opened && !opened.contains(document.activeElement)) {
        opened.open = false;
      }
      details.open = true;
      opened = details;
      list.prepend(item);
      while (list.children.length > most) {
        list.lastElementChild.remove();
      }
      empty.hidden = true;
    }
    fillAnswer(item, call);
  });

  document.getElementById("clear-wire").addEventListener("click", () => {
    list.replaceChildren();
    empty.hidden = false;
  });
}

function fillRequest(item, call) {
  const time = item.querySelector("time");
  time.dateTime = call.at.toISOString();
  time.textContent = call.at.toLocaleTimeString([], { hour12: false });
  const name = item.querySelector(".name");
  name.textContent = call.url.pathname.split("/").slice(-1)[0];
  if (call.note) {
    name.textContent = call.note;
    name.title = t("byWeixin");
  }
  const headers = Object.entries(call.headers).map(([name, value]) => `${name}: ${value}\n`);
  let body;
  if (isForm(call)) {
    headers.unshift("Content-Type: multipart/form-data\n"); // set by the browser, with a boundary
    body = [...call.body].map(([field, file]) => `${field}: ${file.name}, ${Math.ceil(file.size / 1024)} KB`).join("\n");
  } else {
    body = pretty(call.body);
  }
  item.querySelector(".request").textContent = `POST ${call.url.pathname}\n${headers.join("")}\n${body}`;
}

function fillAnswer(item, call) {
  const badge = item.querySelector(".badge");
  badge.className = `badge ${call.running ? "running" : kind(call.status)}`;
  badge.textContent = call.running ? t("running") : String(call.status || t("noAnswer"));
  if (call.running) {
    return;
  }
  item.querySelector(".took").textContent = `${call.took < 10 ? call.took.toFixed(1) : Math.round(call.took)} ms`;
  item.querySelector(".preview").textContent = call.answer.trim();
  let head = call.status ? `${call.status}\n` : "";
  head += call.requestId && `X-Request-Id: ${call.requestId}\n`;
  head += call.retryAfter && `Retry-After: ${call.retryAfter}\n`;
  item.querySelector(".answer").textContent = `${head}\n${pretty(call.answer)}`;
}

function kind(status) {
  if (status === 0 || status >= 500) {
    return "bad";
  }
  return status >= 400 ? "refused" : "good";
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Copies text. Falls back to execCommand, because only https and localhost have a clipboard API. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
