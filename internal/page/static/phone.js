// The mini program on the phone.
import { forWeixin, SharesError } from "./client.js";
import { drawChart } from "./chart.js";
import { language, t } from "./text.js";

const byId = (id) => document.getElementById(id);

/** The storage key of the phone's last user. */
const lastUser = "shares.page.user";

/** Runs the mini program on the phone wx. With resume, it opens for the last user. */
export function startPhone(wx, { resume }) {
  let client;
  let me; // the last answer of get_user_info
  let switching = Promise.resolve(); // switches are sent in the order of the clicks
  const showChart = drawChart(byId("chart"), byId("price"), byId("change"));
  const profile = byId("profile-form").elements;
  const fields = ["nickName", "gender", "country", "province", "city", "avatarURL"];

  /** Opens the mini program for a user. The client logs in if it has no session. */
  async function open(user, focus = true) {
    wx.user = user;
    client = forWeixin(wx, { baseURL: location.origin, language, storageKey: `shares.session.${user}` });
    await client.login(); // the user may have signed out
    await load();
    localStorage.setItem(lastUser, user);
    byId("qr-form").elements.scene.value = `from=${user}`.slice(0, 32);
    byId("code").hidden = true;
    show("market", focus);
  }

  async function load() {
    me = await client.getUserInfo();
    const { overdueTime } = await client.login(); // returns the stored session without a request
    for (const field of fields) {
      profile[field].value = me[field];
    }
    byId("rg").checked = me.rg;
    byId("only20").checked = me.only20;
    showChart(me);
    byId("name").textContent = me.nickName || t("noName");
    byId("openid").textContent = me.openid;
    byId("phone-number").value = me.phone || "–";
    byId("capacity").value = String(me.capacity);
    byId("until").value = new Date(overdueTime * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    showFace();
  }

  function showFace() {
    const letter = [...(me.nickName || wx.user)][0].toUpperCase();
    byId("face").replaceChildren(letter);
    if (me.avatarURL) {
      const picture = new Image();
      picture.alt = "";
      picture.onload = () => byId("face").replaceChildren(picture);
      picture.src = me.avatarURL;
    }
  }

  /** Shows one page of the mini program and, with focus, moves the focus to it. */
  function show(name, focus = true) {
    for (const view of document.querySelectorAll(".view")) {
      view.hidden = view.id !== `view-${name}`;
    }
    byId("tabs").hidden = name === "users";
    for (const tab of byId("tabs").children) {
      tab.toggleAttribute("aria-current", false);
      if (tab.dataset.view === name) {
        tab.setAttribute("aria-current", "page");
      }
    }
    if (focus) {
      document.querySelector(`#view-${name} h3`).focus({ preventScroll: true });
    }
  }

  /** Returns a handler that runs work for a control, one run at a time, and shows its result. */
  function act(control, work) {
    return async (event) => {
      event?.preventDefault();
      if (control.ariaBusy === "true") {
        return;
      }
      control.ariaBusy = "true";
      say("", "");
      try {
        say(await work(), "");
      } catch (error) {
        say("", words(error));
      } finally {
        control.ariaBusy = null;
      }
    };
  }

  for (const button of document.querySelectorAll("[data-user]")) {
    button.addEventListener("click", act(button, async () => {
      await open(button.dataset.user || `guest-${Math.random().toString(36).slice(2, 8)}`);
      return t("loggedIn");
    }));
  }

  for (const tab of byId("tabs").children) {
    tab.addEventListener("click", () => show(tab.dataset.view));
  }

  for (const key of ["rg", "only20"]) {
    const input = byId(key);
    input.addEventListener("change", () => {
      const wanted = input.checked;
      switching = switching.then(act(input, async () => {
        try {
          await client.upsetUserInfo({ key, value: String(wanted) });
          me[key] = wanted;
        } finally {
          input.checked = me[key];
          showChart(me);
        }
        return t("switched", t(key), t(wanted ? "on" : "off"));
      }));
    });
  }

  byId("profile-form").addEventListener("submit", act(byId("profile-form"), async () => {
    const changed = fields.filter((field) => profile[field].value !== me[field]);
    if (changed.length === 0) {
      return t("unchanged");
    }
    await client.updateUserInfo(Object.fromEntries(changed.map((field) => [field, profile[field].value])));
    await load();
    return t("saved");
  }));

  byId("choose-avatar").addEventListener("click", () => byId("avatar").click());
  byId("avatar").addEventListener("change", act(byId("choose-avatar"), async () => {
    const { user } = wx;
    const [file] = byId("avatar").files;
    byId("avatar").value = ""; // so that the same file can be chosen again
    const { url } = await client.uploadAvatar(wx.chosen(file));
    if (wx.user === user) {
      me.avatarURL = profile.avatarURL.value = url; // keeps the other fields that were typed
      showFace();
    }
    return t("avatarStored");
  }));

  byId("ask-phone").addEventListener("click", act(byId("ask-phone"), async () => {
    const last = Math.floor(Math.random() * 1e8).toString().padStart(8, "0");
    await client.upsetUserInfo({ key: "phoneCode", value: await wx.getPhoneNumber(`138${last}`) });
    await load();
    return t("phoneStored");
  }));

  byId("qr-form").addEventListener("submit", act(byId("qr-form"), async () => {
    const { page, scene } = byId("qr-form").elements;
    byId("code").hidden = true; // it shows the previous code
    const { url } = await client.getQrcode({ page: page.value, scene: scene.value });
    const picture = byId("qr");
    picture.src = url;
    picture.alt = t("codeAlt", page.value, scene.value);
    byId("qr-link").href = url;
    try {
      await picture.decode();
    } catch {
      throw new Error(t("pictureLost"));
    }
    byId("code").hidden = false;
    return t("codeReady");
  }));

  byId("show-app").addEventListener("click", act(byId("show-app"), async () => {
    await client.onShow();
    await load();
    return t("shown");
  }));

  const leaving = { "log-out": () => client.logout(), "delete-account": () => client.deleteUserInfo() };
  for (const [id, leave] of Object.entries(leaving)) {
    byId(id).addEventListener("click", act(byId(id), async () => {
      if (id === "delete-account" && !confirm(t("deleteSure"))) {
        return "";
      }
      await leave();
      localStorage.removeItem(lastUser);
      show("users");
      return t(id === "log-out" ? "loggedOut" : "accountDeleted");
    }));
  }

  const tick = () => (byId("clock").textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }));
  tick();
  setInterval(tick, 10_000);

  show("users", false);
  const user = localStorage.getItem(lastUser);
  if (user && resume) {
    act(byId("tabs"), async () => {
      await open(user, false);
      return "";
    })();
  }
}

let fading;

/** Shows a success for four seconds, or a failure until the next action. */
function say(done, failed) {
  byId("done").textContent = done;
  byId("failed").textContent = failed;
  clearTimeout(fading);
  if (done) {
    fading = setTimeout(() => (byId("done").textContent = ""), 4000);
  }
}

/** Returns the text of an error for the user, with the request id for an operator. */
function words(error) {
  if (!(error instanceof SharesError)) {
    return error.message;
  }
  return error.requestId ? `${error.msg} (${t("requestId", error.requestId)})` : error.msg;
}
