// The part of wx that the mini program uses, on the simulated phone.

const simulator = { headers: { "Content-Type": "application/json" }, timeout: 10_000 };

/** Implements wx on the phone of user. */
export class Weixin {
  user = "";
  #wire;
  #files = new Map(); // by temporary path
  #onShow = () => {};

  constructor(wire) {
    this.#wire = wire;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        this.#onShow();
      }
    });
  }

  request({ url, data, header, timeout, success, fail }) {
    this.#wire.post(url, { headers: header, body: data, timeout }).then(
      ({ status, headers, body }) => success({ statusCode: status, header: Object.fromEntries(headers), data: body }),
      fail,
    );
  }

  uploadFile({ url, filePath, name, header, timeout, success, fail }) {
    const form = new FormData();
    form.append(name, this.#files.get(filePath));
    this.#wire.post(url, { headers: header, body: form, timeout }).then(
      ({ status, headers, body }) => success({ statusCode: status, header: Object.fromEntries(headers), data: body }),
      fail,
    );
  }

  /** Returns the temporary path that a button of open-type chooseAvatar returns for a file. */
  chosen(file) {
    const path = `http://tmp/${this.#files.size + 1}`;
    this.#files.set(path, file);
    return path;
  }

  login({ success, fail }) {
    this.#ask("wx.login", "/simulator/code", { user: this.user }).then((code) => success({ code }), fail);
  }

  /** Resolves with the code that a button of open-type getPhoneNumber returns. */
  getPhoneNumber(phone) {
    return this.#ask("getPhoneNumber", "/simulator/phone_code", { phone });
  }

  getStorageSync(key) {
    return localStorage.getItem(key) ?? "";
  }

  setStorageSync(key, value) {
    localStorage.setItem(key, value);
  }

  removeStorageSync(key) {
    localStorage.removeItem(key);
  }

  /** Keeps one listener, because each mini program that opens replaces the previous one. */
  onAppShow(listener) {
    this.#onShow = listener;
  }

  async #ask(note, path, request) {
    const { status, body } = await this.#wire.post(path, { ...simulator, body: JSON.stringify(request), note });
    if (status !== 200) {
      throw new Error(`${note}: status ${status}`);
    }
    return JSON.parse(body).code;
  }
}
