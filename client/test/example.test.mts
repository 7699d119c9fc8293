// Uses the example like a user, in an environment with only the globals of a
// mini program: no web, no Node.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { Phone } from "./platform.mjs";
import { startServer } from "./server.mjs";

const example = fileURLToPath(new URL("../../example", import.meta.url));
const server = await startServer();

/** The code from wx.login in WeChat DevTools in a project without an AppID. */
const mockCode = "the code is a mock one";

interface Page {
  data: Record<string, any>;
  setData(change: Record<string, unknown>): void;
  [handler: string]: any;
}

class MiniProgram {
  readonly phone = new Phone(server, "nobody");
  readonly toasts: string[] = [];
  readonly privacy = { needAuthorization: false, privacyContractName: "《示例隐私保护指引》" };
  confirms = true;
  needPrivacy: (resolve: (answer: object) => void) => void = () => assert.fail("no listener");
  private readonly modules = new Map<string, object>();
  private readonly world;
  private page: Page | undefined;

  constructor(
    /** Instead of the example's config.js. */
    private readonly baseURL: string,
  ) {
    this.phone.login_ = (options) => options.success({ code: mockCode });
    const { request, uploadFile, login, getStorageSync, setStorageSync, removeStorageSync, onAppShow } = this.phone;
    const consent = {
      onNeedPrivacyAuthorization: (listener: (resolve: (answer: object) => void) => void) => (this.needPrivacy = listener),
      getPrivacySetting: ({ success }: { success: (setting: object) => void }) => success(this.privacy),
      openPrivacyContract: () => this.toasts.push(this.privacy.privacyContractName),
      showModal: ({ success }: { success: (result: object) => void }) => success({ confirm: this.confirms }),
    };
    const showToast = ({ title }: { title: string }) => this.toasts.push(title);
    const stopPullDownRefresh = () => this.toasts.push("refreshed");
    let app: object;
    this.world = createContext({
      wx: { request, uploadFile, login, getStorageSync, setStorageSync, removeStorageSync, onAppShow, showToast, stopPullDownRefresh, ...consent },
      App: (options: object) => (app = options),
      getApp: () => app,
      Page: (options: Page) => (this.page = options),
      console: { error() {} },
      setTimeout,
      clearTimeout,
    });
    this.load(join(example, "app.js"));
  }

  open(path: string): Page {
    this.load(join(example, path + ".js"));
    const page = this.page!;
    page.setData = (change) => {
      for (const [path, value] of Object.entries(change)) {
        const keys = path.split(".");
        const last = keys.pop()!;
        keys.reduce((data, key) => data[key], page.data)[last] = value;
      }
    };
    return page;
  }

  /** Loads a file as DevTools does: relative paths, and packages from miniprogram_npm. */
  private load(file: string): object {
    const loaded = this.modules.get(file);
    if (loaded) {
      return loaded;
    }
    const module = { exports: file === join(example, "config.js") ? { baseURL: this.baseURL } : {} };
    this.modules.set(file, module.exports);
    const require = (name: string) =>
      this.load(name.startsWith(".") ? join(dirname(file), name) : join(example, "miniprogram_npm", name, "index.js"));
    if (!file.endsWith("config.js")) {
      const wrapped = `(function (require, module, exports) {${readFileSync(file, "utf8")}\n})`;
      runInContext(wrapped, this.world, { filename: file })(require, module, module.exports);
    }
    return module.exports;
  }
}

test("a user logs in without an AppID, edits the profile and makes a code", async () => {
  const program = new MiniProgram(server.url);
  const page = program.open("pages/index/index");
  await page["onLoad"]({ scene: "from%3Dtest" });
  assert.equal(page.data["scene"], "from=test");
  assert.deepEqual([page.data["me"].rg, page.data["me"].only20, page.data["me"].capacity], [true, false, 5]);
  assert.match(page.data["me"].openid, /^\S{10,}$/);

  await page["onSaveProfile"]({ detail: { value: { nickName: "小明" } } });
  await page["onSwitch"]({ currentTarget: { dataset: { key: "rg" } }, detail: { value: false } });
  await page["onSwitch"]({ currentTarget: { dataset: { key: "only20" } }, detail: { value: true } });
  assert.deepEqual(program.toasts, ["已保存"]);
  const shown = { ...page.data["me"] };
  assert.deepEqual([shown.nickName, shown.rg, shown.only20], ["小明", false, true]);

  await page["onLogInAgain"]();
  assert.deepEqual({ ...page.data["me"] }, shown, "the stored profile differs from the shown one");
  assert.equal(program.phone.logins, 2);

  await page["onQrcode"]();
  const picture = join(mkdtempSync(join(tmpdir(), "shares-example-")), "picked.jpeg");
  writeFileSync(picture, new Uint8Array(await (await fetch(page.data["qrcode"])).arrayBuffer()));
  await page["onChooseAvatar"]({ detail: { avatarUrl: picture } });
  rmSync(dirname(picture), { recursive: true });
  assert.equal((await fetch(page.data["me"].avatarURL)).headers.get("content-type"), "image/jpeg");
  assert.notEqual(page.data["me"].avatarURL, page.data["qrcode"]);
  assert.match((await fetch(page.data["qrcode"])).headers.get("content-type") || "", /^image\//);
  await page["onPullDownRefresh"]();
  assert.deepEqual(program.toasts, ["已保存", "refreshed"]);
});

test("nothing is sent before the user agrees to the privacy agreement", async () => {
  const program = new MiniProgram(server.url);
  program.privacy.needAuthorization = true;
  const page = program.open("pages/index/index");
  await page["onLoad"]({});
  assert.deepEqual([page.data["asking"], page.data["contract"]], [true, "《示例隐私保护指引》"]);
  page["onContract"]();
  assert.deepEqual(program.toasts, ["《示例隐私保护指引》"]);
  page["onDisagree"]();
  assert.deepEqual([page.data["asking"], program.phone.requests.length], [false, 0]);
  const answers: object[] = [];
  program.needPrivacy((answer) => answers.push({ ...answer }));
  assert.equal(page.data["asking"], true);
  await page["onAgree"]();
  assert.deepEqual(answers, [{ event: "agree", buttonId: "agree" }]);
  assert.deepEqual([page.data["asking"], page.data["me"].capacity], [false, 5]);
});

test("a user logs out, logs in, and deletes the account", async () => {
  const program = new MiniProgram(server.url);
  program.phone.login_ = undefined; // an own user
  const page = program.open("pages/index/index");
  await page["onLoad"]({});
  await page["onSaveProfile"]({ detail: { value: { nickName: "小明" } } });
  await page["onLogout"]();
  assert.equal(page.data["me"], null);
  await page["refresh"]();
  assert.deepEqual(program.toasts, ["已保存", "已退出登录，请重新登录"]);
  await page["onLogInAgain"]();
  assert.equal(page.data["me"]!.nickName, "小明");
  program.confirms = false;
  await page["onDeleteAccount"]();
  assert.equal(page.data["me"]!.nickName, "小明");
  program.confirms = true;
  await page["onDeleteAccount"]();
  assert.equal(page.data["me"], null);
  await page["onLogInAgain"]();
  assert.equal(page.data["me"]!.nickName, "");
});

test("a user sees errors, and a switch that cannot be saved turns back", async () => {
  const program = new MiniProgram(server.url);
  const page = program.open("pages/index/index");
  await page["onLoad"]({});
  await page["onSaveProfile"]({ detail: { value: { nickName: "x".repeat(65) } } });
  assert.deepEqual(program.toasts, ["参数 nickName 过长，最多 64 个字符"]);
  await page["onSwitch"]({ currentTarget: { dataset: { key: "capacity" } }, detail: { value: true } });
  assert.match(program.toasts[1]!, /^不能设置 capacity/);
  assert.equal(page.data["me"].capacity, false);

  const away = new MiniProgram("http://127.0.0.1:1");
  const empty = away.open("pages/index/index");
  await empty["onLoad"]({});
  assert.equal(empty.data["me"], null);
  assert.deepEqual(away.toasts, ["网络异常，请稍后再试"]);
});

test("the example's files are consistent", () => {
  const json = (file: string) => JSON.parse(readFileSync(join(example, file), "utf8"));
  assert.equal(json("project.config.json").appid, "touristappid");
  assert.equal(json("project.config.json").setting.urlCheck, false);
  assert.match(json("project.config.json").libVersion, /^3\./);
  assert.equal(json(json("app.json").sitemapLocation).rules[0].action, "disallow");
  assert.equal(json("app.json").__usePrivacyCheck__, true);
  const pages: string[] = json("app.json").pages;
  for (const path of pages) {
    const page = new MiniProgram(server.url).open(path);
    const markup = readFileSync(join(example, path + ".wxml"), "utf8");
    const handlers = [...markup.matchAll(/\bbind\w+="(\w+)"/g)].map((match) => match[1]!);
    assert.ok(handlers.length > 0);
    for (const handler of handlers) {
      assert.equal(typeof page[handler], "function", handler);
    }
    assert.ok(existsSync(join(example, path + ".json")) && existsSync(join(example, path + ".wxss")));
  }
});
