import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import {
  Client,
  codes,
  fetchTransport,
  forUni,
  forWeixin,
  requestTransport,
  sceneOf,
  SharesError,
  type Call,
  type PlatformOptions,
  type Transport,
  type TransportRequest,
  type Upload,
} from "shares-client";
import { Phone } from "./platform.mjs";
import { startServer } from "./server.mjs";

const server = await startServer();

const hours = 3_600_000;
let users = 0;
const newUser = () => `user${++users}`;

/** A phone of a new user, its client, and its clock. */
function newPhone(options: Partial<PlatformOptions> = {}) {
  const phone = new Phone(server, newUser());
  const clock = { offset: 0 };
  const open = () =>
    forWeixin(phone, { baseURL: server.url, now: () => Date.now() + clock.offset, ...options });
  return { phone, clock, open, client: open() };
}

async function rejection(promise: Promise<unknown>): Promise<SharesError> {
  const error = await promise.then(
    (value) => assert.fail(`resolved with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  assert.ok(error instanceof SharesError, `${error} is no SharesError`);
  return error;
}

async function eventually(check: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; !check(); ) {
    assert.ok(Date.now() < end, "the condition is still false after a minute");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Starts a server with the test's own handler and returns its URL. */
async function listen(listener: RequestListener): Promise<string> {
  const own = createServer(listener);
  await new Promise<void>((resolve) => own.listen(0, "127.0.0.1", resolve));
  after(() => {
    own.closeAllConnections();
    own.close();
  });
  return `http://127.0.0.1:${(own.address() as AddressInfo).port}`;
}

/** A session in the stored form that no server accepts. */
function forged(): string {
  const now = Date.now();
  const session = { sessionId: "A".repeat(84), openId: "", overdueTime: now / 1000 + 7200 };
  return JSON.stringify({ ...session, receivedAt: now, lifetime: 2 * hours, login: 1 });
}

describe("every endpoint", () => {
  const clients: Record<string, () => Client> = {
    wx: () => forWeixin(new Phone(server, newUser()), { baseURL: server.url + "/" }),
    uni: () => forUni(new Phone(server, newUser(), "uni"), { baseURL: server.url }),
    fetch: () => {
      const user = newUser();
      return new Client({ baseURL: server.url, transport: fetchTransport(fetch), login: () => server.code(user) });
    },
  };
  for (const [name, make] of Object.entries(clients)) {
    test(`over ${name}`, async () => {
      const client = make();
      const { openId, overdueTime } = await client.login();
      assert.ok(Math.abs(overdueTime - Date.now() / 1000 - 7200) < 60, `ends at ${overdueTime}`);

      const first = await client.getUserInfo();
      assert.deepEqual(first, {
        openid: openId,
        nickName: "",
        avatarURL: "",
        gender: "",
        city: "",
        province: "",
        country: "",
        phone: "",
        group: "",
        rg: true,
        only20: false,
        capacity: 5,
      });
      await client.updateUserInfo({ nickName: "小明 😀", city: "深圳", gender: "1" });
      await client.updateUserInfo({ city: "", gender: null });
      await client.upsetUserInfo({ key: "only20", value: "true" });
      assert.deepEqual(await client.getUserInfo(), { ...first, nickName: "小明 😀", gender: "1", only20: true });

      const { url } = await client.getQrcode({ page: "pages/index/index", scene: "from=test" });
      const picture = await fetch(url);
      assert.equal(picture.status, 200);
      assert.match(picture.headers.get("content-type") || "", /^image\//);
    });
  }
});

test("a client has the public endpoints, too", async () => {
  const { phone, client } = newPhone();
  assert.equal((await client.reLogin()).relogin, true); // there is no session, and no login
  const { openId } = await client.oauth({ jscode: await server.code(newUser()) });
  assert.notEqual(openId, "");
  assert.deepEqual(phone.takeRequests(), ["re_login", "oauth"]);
  const mine = await client.login();
  assert.deepEqual([(await client.reLogin()).openId, mine.openId !== openId], [mine.openId, true]);
});

test("baseURL needs scheme and host", () => {
  for (const baseURL of ["shares.example.com", "localhost:82", "//shares.example.com", "https://", "/api", ""]) {
    assert.throws(() => newPhone({ baseURL }), /baseURL must be like https:\/\/shares.example.com, not "/, baseURL);
  }
});

/** Sends a call in a form that the generator supports but no endpoint uses yet. */
function sendPublic(client: Client, call: Call): Promise<unknown> {
  return (client as unknown as { callPublic(call: Call): Promise<unknown> }).callPublic(call);
}

test("each part of a call is sent where shares.api says", async () => {
  const requests: TransportRequest[] = [];
  const inner = fetchTransport(fetch);
  const transport: Transport = {
    send: (request) => {
      requests.push({ ...request, timeout: 0 });
      return inner.send(request);
    },
  };
  const { client } = newPhone({ transport });
  const query = { page: 2, names: ["a&b", "c"], absent: undefined, none: null };
  const get: Call = { method: "GET", path: "/notes/7", query, headers: { "X-Trace": "t", "X-None": undefined } };
  for (const call of [get, { method: "PATCH", path: "/notes/7", body: { name: "n" } }]) {
    assert.equal((await rejection(sendPublic(client, call))).code, codes.notFound); // the service has no notes
  }
  const url = `${server.url}/notes/7`;
  assert.deepEqual(requests, [
    { method: "GET", url: `${url}?page=2&names=a%26b&names=c`, headers: { "X-Trace": "t" }, timeout: 0 },
    { method: "PATCH", url, headers: { "Content-Type": "application/json" }, body: `{"name":"n"}`, timeout: 0 },
  ]);
});

test("PATCH in a mini program is rejected with an error that names it", async () => {
  const error = await rejection(sendPublic(newPhone().client, { method: "PATCH", path: "/notes/7", body: {} }));
  assert.deepEqual([error.code, error.msg], [codes.invalid, "a mini program cannot send PATCH"]);
});

describe("an avatar", () => {
  const folder = mkdtempSync(join(tmpdir(), "shares-avatar-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "picture.png");
  // One blue pixel.
  const picture = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYPgPAAEDAQAIicLsAAAAAElFTkSuQmCC",
    "base64",
  );
  writeFileSync(path, picture);
  const text = join(folder, "picture.txt");
  writeFileSync(text, "no picture");

  const ways: Record<string, () => { client: Client; good: Upload; bad: Upload; foreign: Upload }> = {
    wx: () => ({ client: newPhone().client, good: path, bad: text, foreign: new Blob([picture]) }),
    uni: () => ({
      client: forUni(new Phone(server, newUser(), "uni"), { baseURL: server.url }),
      good: path,
      bad: text,
      foreign: new Blob([picture]),
    }),
    fetch: () => ({
      client: newPhone({ transport: fetchTransport(fetch) }).client,
      good: new Blob([picture]),
      bad: new Blob(["no picture"]),
      foreign: path,
    }),
  };
  for (const [name, way] of Object.entries(ways)) {
    test(`is uploaded over ${name}`, async () => {
      const { client, good, bad, foreign } = way();
      const { url } = await client.uploadAvatar(good);
      assert.equal((await client.getUserInfo()).avatarURL, url);
      const response = await fetch(url);
      assert.equal(response.headers.get("content-type"), "image/jpeg");

      const refused = await rejection(client.uploadAvatar(bad));
      assert.deepEqual([refused.code, refused.status], [codes.invalid, 400]);
      const misused = await rejection(client.uploadAvatar(foreign));
      assert.deepEqual([misused.code, misused.status], [codes.invalid, 0]);
      assert.match(misused.msg, /uploadAvatar: .* (needs the path of a file|pass a File or another Blob, not a path)/);
      assert.equal((await client.getUserInfo()).avatarURL, url);
    });
  }

  test("is sent again after a login when the session was refused", async () => {
    const { phone, client } = newPhone();
    phone.stored.set("shares.session", forged());
    await client.uploadAvatar(path);
    assert.deepEqual(phone.takeRequests(), ["upload_avatar", "oauth", "upload_avatar"]);
  });

  test("needs a transport that uploads", async () => {
    const phone = new Phone(server, newUser());
    const { send } = requestTransport(phone);
    const error = await rejection(forWeixin(phone, { baseURL: server.url, transport: { send } }).uploadAvatar(path));
    assert.deepEqual([error.code, error.status], [codes.unavailable, 0]);
  });
});

describe("the session", () => {
  test("is made once for concurrent calls", async () => {
    const { phone, client } = newPhone();
    await Promise.all(Array.from({ length: 50 }, () => client.getUserInfo()));
    assert.equal(phone.logins, 1);
    assert.deepEqual(phone.takeRequests(), ["oauth", ...Array<string>(50).fill("get_user_info")]);
  });

  test("survives a restart of the app", async () => {
    const { phone, client, open } = newPhone();
    const { openId } = await client.login();
    const again = open();
    assert.equal((await again.login()).openId, openId);
    await again.getUserInfo();
    assert.equal(phone.logins, 1);
  });

  test("is deleted by forget", async () => {
    const { phone, client, open } = newPhone();
    await client.login();
    client.forget();
    assert.equal(phone.stored.size, 0);
    await open().login();
    assert.equal(phone.logins, 2);
  });

  test("is kept in memory if storage fails", async () => {
    const { phone, client } = newPhone();
    phone.getStorageSync = phone.setStorageSync = phone.removeStorageSync = () => {
      throw new Error("storage is full");
    };
    await client.getUserInfo();
    await client.getUserInfo();
    client.forget();
    await client.getUserInfo();
    assert.equal(phone.logins, 2);
  });

  for (const stored of ["", "{", "null", "{}", `{"sessionId":1}`]) {
    test(`is made again if storage has ${JSON.stringify(stored)}`, async () => {
      const { phone, client } = newPhone();
      phone.stored.set("shares.session", stored);
      await client.getUserInfo();
      assert.deepEqual(phone.takeRequests(), ["oauth", "get_user_info"]);
    });
  }

  test("that the service refuses is replaced once, and all calls are repeated", async () => {
    const { phone, client } = newPhone();
    phone.stored.set("shares.session", forged());
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.getUserInfo()));
    assert.equal(new Set(answers.map((a) => a.openid)).size, 1);
    assert.equal(phone.logins, 1);
    assert.equal(phone.takeRequests().filter((path) => path === "get_user_info").length, 20);
  });

  test("that is refused even when new is not replaced again", async () => {
    const phone = new Phone(server, newUser());
    const inner = requestTransport(phone);
    const withoutSession: Transport = {
      send: ({ headers: { Authorization: _, ...headers }, ...request }) => inner.send({ ...request, headers }),
    };
    const client = forWeixin(phone, { baseURL: server.url, transport: withoutSession });
    for (let round = 1; round <= 2; round++) {
      const error = await rejection(client.getUserInfo());
      assert.deepEqual([error.code, error.status], [codes.sessionInvalid, 401]);
      assert.equal(phone.stored.size, 0);
    }
    assert.deepEqual(phone.takeRequests(), [
      ...["oauth", "get_user_info", "oauth", "get_user_info"],
      ...["oauth", "get_user_info", "oauth", "get_user_info"],
    ]);
  });

  test("is renewed once before it expires, while calls continue", async () => {
    const { phone, clock, client } = newPhone();
    await client.login();
    const before = phone.stored.get("shares.session");
    clock.offset = 1.6 * hours;
    phone.takeRequests();
    await Promise.all(Array.from({ length: 10 }, () => client.getUserInfo()));
    await eventually(() => phone.stored.get("shares.session") !== before);
    await client.getUserInfo();
    const requests = phone.takeRequests();
    assert.equal(requests.filter((path) => path === "re_login").length, 1);
    assert.equal(requests.filter((path) => path === "get_user_info").length, 11);
    assert.equal(phone.logins, 1);
  });

  test("that has expired is replaced by a login before the call", async () => {
    const { phone, clock, client } = newPhone();
    await client.login();
    clock.offset = 2.1 * hours;
    phone.takeRequests();
    await client.getUserInfo();
    assert.deepEqual(phone.takeRequests(), ["oauth", "get_user_info"]);
  });

  test("stays in use while renewals fail, and renewals are rare", async () => {
    const phone = new Phone(server, newUser());
    const inner = requestTransport(phone);
    let tries = 0;
    let offset = 0;
    const client = forWeixin(phone, {
      baseURL: server.url,
      now: () => Date.now() + offset,
      transport: {
        send: (request) => {
          if (request.url.endsWith("re_login")) {
            tries++;
            return Promise.reject(new Error("no network"));
          }
          return inner.send(request);
        },
      },
    });
    await client.login();
    offset = 1.6 * hours;
    for (let i = 0; i < 5; i++) {
      await client.getUserInfo();
    }
    assert.equal(tries, 1);
    await client.onShow(); // still too early
    assert.equal(tries, 1);
    offset += 60_000;
    await client.onShow();
    assert.equal(tries, 2);
    assert.equal(phone.logins, 1);
  });

  test("is renewed when the app comes to the foreground", async () => {
    const { phone, clock, open, client } = newPhone();
    phone.show(); // no session yet
    await client.login();
    phone.show(); // the session is new
    clock.offset = 60_000;
    phone.takeRequests();
    const before = phone.stored.get("shares.session");
    phone.show();
    phone.show();
    await eventually(() => phone.stored.get("shares.session") !== before);
    assert.deepEqual(phone.takeRequests(), ["re_login"]);

    await open().onShow(); // the app's next start
    assert.deepEqual(phone.takeRequests(), ["re_login"]);
    assert.equal(phone.logins, 1);
  });

  test("that the service no longer accepts is deleted when the app comes to the foreground", async () => {
    const { phone, client } = newPhone();
    phone.stored.set("shares.session", forged());
    await client.onShow();
    assert.equal(phone.stored.size, 0);
    await client.getUserInfo();
    assert.deepEqual(phone.takeRequests(), ["re_login", "oauth", "get_user_info"]);
  });

  test("of a login is not replaced by an older renewal", async () => {
    const phone = new Phone(server, newUser());
    phone.stored.set("shares.session", forged());
    const { transport, release } = holdingFirst("re_login", phone);
    const client = forWeixin(phone, { baseURL: server.url, transport });
    const renewal = client.onShow();
    await client.getUserInfo(); // refused, logged in, repeated
    release();
    await renewal;
    await client.getUserInfo();
    assert.equal(phone.logins, 1);
  });

  test("of a login is also used after a late refusal of the old one", async () => {
    const phone = new Phone(server, newUser());
    phone.stored.set("shares.session", forged());
    const { transport, release } = holdingFirst("get_user_info", phone);
    const client = forWeixin(phone, { baseURL: server.url, transport });
    const late = client.getUserInfo();
    await client.getUserInfo(); // refused, logged in, repeated
    release();
    await late;
    assert.equal(phone.logins, 1);
  });

  test("that was refused is not replaced by its own renewal", async () => {
    const phone = new Phone(server, newUser());
    let offset = 0;
    const { transport, release } = holdingFirst("get_user_info", phone, { Authorization: "Bearer refused" });
    const client = forWeixin(phone, { baseURL: server.url, transport, now: () => Date.now() + offset });
    await client.login();
    const refused = client.getUserInfo();
    offset = 60_000;
    await client.onShow();
    release();
    await refused;
    assert.equal(phone.logins, 2);
  });

  for (const offset of [-30 * hours, 30 * hours]) {
    test(`works with a clock that is ${offset / hours} hours off`, async () => {
      for (const known of [true, false]) {
        const { phone, clock, client } = newPhone(known ? {} : { transport: withoutDate(() => phone) });
        clock.offset = offset;
        for (let i = 0; i < 5; i++) {
          await client.getUserInfo();
        }
        assert.equal(phone.logins, 1, known ? "the service's clock is known" : "the service's clock is not known");
        assert.ok(!phone.requests.includes("re_login"));
      }
    });
  }
});

describe("signing out", () => {
  const ways: Record<string, { leave: (client: Client) => Promise<unknown>; endpoint: string; codes: number }> = {
    logout: { leave: (client) => client.logout(), endpoint: "logout", codes: 0 },
    deleteUserInfo: { leave: (client) => client.deleteUserInfo(), endpoint: "delete_user_info", codes: 1 },
  };
  for (const [name, { leave, endpoint, codes: spent }] of Object.entries(ways)) {
    test(`by ${name} lasts until login, across restarts`, async () => {
      const { phone, client, open } = newPhone();
      await client.updateUserInfo({ nickName: "小明" });
      const other = open(); // with the same session
      await other.getUserInfo();
      await leave(client);
      phone.takeRequests();
      for (const signedOut of [client, open(), open()]) {
        for (const call of [signedOut.getUserInfo(), leave(signedOut), signedOut.getQrcode({ scene: "a" })]) {
          const error = await rejection(call);
          assert.deepEqual([error.code, error.msg], [codes.sessionInvalid, "已退出登录，请重新登录"]);
        }
        await signedOut.onShow();
        signedOut.forget();
      }
      assert.deepEqual([phone.takeRequests(), phone.logins], [[], 1 + spent]);
      const again = open();
      await again.login();
      assert.equal((await again.getUserInfo()).nickName, name === "logout" ? "小明" : "");
      assert.deepEqual(phone.takeRequests(), ["oauth", "get_user_info"]);
    });

    test(`by ${name}: concurrent calls do not log in again`, async () => {
      const phone = new Phone(server, newUser());
      const { transport, release } = holdingFirst(endpoint, phone);
      const client = forWeixin(phone, { baseURL: server.url, transport });
      await client.login();
      const done = leave(client);
      await eventually(() => phone.requests.includes(endpoint));
      const error = await rejection(client.getUserInfo());
      assert.equal(error.code, codes.sessionInvalid);
      release();
      await done;
      assert.equal(phone.logins, 1 + spent);
    });

    test(`by ${name} fails without the service, and the user stays logged in`, async () => {
      const phone = new Phone(server, newUser());
      const inner = requestTransport(phone);
      const down: Transport = {
        send: (request) => (request.url.endsWith(endpoint) ? Promise.reject(new Error("down")) : inner.send(request)),
      };
      const client = forWeixin(phone, { baseURL: server.url, transport: down });
      await client.login();
      assert.equal((await rejection(leave(client))).code, codes.unavailable);
      await client.getUserInfo();
      assert.equal(phone.takeRequests().filter((path) => path === "oauth").length, 1);
    });

    test(`by ${name} with a refused session logs in first`, async () => {
      const { phone, client } = newPhone();
      phone.stored.set("shares.session", forged());
      await leave(client);
      assert.deepEqual(phone.takeRequests(), [endpoint, "oauth", endpoint]);
    });
  }
});

/**
 * A transport that holds the first answer of an endpoint until release. It may
 * replace headers of that request.
 */
function holdingFirst(endpoint: string, phone: Phone, headers: Record<string, string> = {}) {
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let held = false;
  const transport: Transport = {
    send: async (request) => {
      const inner = requestTransport(phone);
      if (held || !request.url.endsWith(endpoint)) {
        return inner.send(request);
      }
      held = true;
      const answer = await inner.send({ ...request, headers: { ...request.headers, ...headers } });
      await released;
      return answer;
    },
  };
  return { transport, release };
}

/** A transport that hides the answer's Date, like fetch across origins. */
function withoutDate(phone: () => Phone): Transport {
  return {
    send: async (request) => {
      const answer = await requestTransport(phone()).send(request);
      return { ...answer, header: (name) => (name === "Date" ? "" : answer.header(name)) };
    },
  };
}

describe("a login that fails", () => {
  test("in WeChat rejects all waiting calls, and the next call tries again", async () => {
    const { phone, client } = newPhone();
    phone.login_ = (options) => options.fail({ errMsg: "login:fail timeout" });
    const errors = await Promise.all(Array.from({ length: 10 }, () => rejection(client.getUserInfo())));
    assert.equal(phone.logins, 1);
    for (const error of errors) {
      assert.deepEqual([error.code, error.status, error.msg], [codes.unavailable, 0, "微信登录失败，请稍后再试"]);
      assert.deepEqual(error.cause, { errMsg: "login:fail timeout" });
    }
    phone.login_ = undefined;
    await client.getUserInfo();
    assert.deepEqual(phone.takeRequests(), ["oauth", "get_user_info"]);
  });

  test("because WeChat never answers is rejected after the timeout", async () => {
    const { phone, client } = newPhone({ timeout: 20, language: "en" });
    phone.login_ = () => {};
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.msg], [codes.unavailable, "WeChat's login failed: try again later"]);
  });

  test("because of a used code is repeated with a second one", async () => {
    const { phone, client } = newPhone();
    const spent = await server.code(phone.user);
    await new Client({ baseURL: server.url, transport: fetchTransport(fetch), login: async () => spent }).login();
    phone.login_ = (options) => {
      phone.login_ = undefined;
      options.success({ code: spent });
    };
    await client.getUserInfo();
    assert.deepEqual(phone.takeRequests(), ["oauth", "oauth", "get_user_info"]);
  });

  test("because of a second bad code is rejected", async () => {
    const { phone, client } = newPhone();
    phone.login_ = (options) => options.success({ code: "not a code" });
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.status], [codes.loginCodeRefused, 401]);
    assert.deepEqual(phone.takeRequests(), ["oauth", "oauth"]);
  });

  test("because the user is blocked is not repeated", async () => {
    const { phone, client } = newPhone();
    phone.login_ = (options) =>
      void server.code(phone.user, { blocked: true }).then((code) => options.success({ code }), options.fail);
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.status], [codes.refused, 403]);
    assert.deepEqual(phone.takeRequests(), ["oauth"]);
  });

  test("because of too many logins is not repeated before Retry-After", async () => {
    const { phone, clock, client } = newPhone();
    await server.simulator("faults", { endpoint: "/sns/jscode2session", kind: "errcode", errcode: 45011, times: 1 });
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.status], [codes.rateLimited, 429]);
    assert.ok(error.retryAfter > 0);
    assert.equal(await rejection(client.getUserInfo()), error);
    assert.deepEqual(phone.takeRequests(), ["oauth"]);
    clock.offset = error.retryAfter * 1000;
    await client.getUserInfo();
    assert.deepEqual(phone.takeRequests(), ["oauth", "get_user_info"]);
  });
});

describe("an error", () => {
  test("has the service's code, text and request id", async () => {
    const { client } = newPhone();
    const error = await rejection(client.updateUserInfo({ gender: "3" }));
    assert.deepEqual([error.code, error.status, error.name], [codes.invalid, 400, "SharesError"]);
    assert.match(error.msg, /gender/);
    assert.equal(error.message, error.msg);
    assert.match(error.requestId, /^[0-9a-f]{1,16}$/);
    await eventually(() => server.log().includes(`request_id=${error.requestId}`));
  });

  test("is in the requested language", async () => {
    const zh = newPhone({ language: "zh" });
    const en = newPhone({ language: "en" });
    const body = { key: "capacity", value: "9" } as object; // not a key of the type
    assert.match((await rejection(zh.client.upsetUserInfo(body))).msg, /^不能设置 capacity/);
    assert.match((await rejection(en.client.upsetUserInfo(body))).msg, /^capacity cannot be set/);
  });

  test("is returned for an address without the service", async () => {
    const { client } = newPhone({ baseURL: server.url + "/nowhere" });
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.status], [codes.notFound, 404]);
  });

  test("is returned if the network fails", async () => {
    const { client } = newPhone({ baseURL: "http://127.0.0.1:1" });
    const error = await rejection(client.getUserInfo());
    assert.deepEqual([error.code, error.status, error.requestId], [codes.unavailable, 0, ""]);
    assert.equal(error.msg, "网络异常，请稍后再试");
    assert.match(JSON.stringify(error.cause), /request:fail/);
  });

  test("is returned for an answer that is not from the service", async () => {
    const pages: [number, string][] = [
      [502, "<html>Bad Gateway</html>"],
      [200, "<html>Welcome to the hotel</html>"],
      [200, ""],
      [500, `{"error":"of something else"}`],
    ];
    for (const [status, body] of pages) {
      const url = await listen((_, response) => response.writeHead(status, { "Retry-After": "7" }).end(body));
      const error = await rejection(newPhone({ baseURL: url }).client.getUserInfo());
      assert.deepEqual([error.code, error.status, error.retryAfter], [codes.unavailable, status, 7]);
      assert.equal(error.msg, "服务返回异常，请稍后再试");
    }
  });

  for (const kind of ["wx", "fetch"]) {
    test(`is returned if the service never answers, over ${kind}`, async () => {
      const url = await listen(() => {});
      const transport = kind === "fetch" ? { transport: fetchTransport(fetch) } : {};
      const { client } = newPhone({ baseURL: url, timeout: 50, ...transport });
      const error = await rejection(client.getUserInfo());
      assert.deepEqual([error.code, error.status], [codes.unavailable, 0]);
    });
  }
});

test("the legacy service's answer format is accepted, too", async () => {
  const old = await startServer({ SHARES_ENVELOPE: "true" });
  const phone = new Phone(old, "alice");
  phone.stored.set("shares.session", forged());
  const client = forWeixin(phone, { baseURL: old.url });
  assert.equal((await client.getUserInfo()).capacity, 5);
  assert.deepEqual(phone.takeRequests(), ["get_user_info", "oauth", "get_user_info"]);
  const error = await rejection(client.updateUserInfo({ gender: "3" }));
  assert.deepEqual([error.code, error.status], [codes.invalid, 200]);
  assert.match(error.msg, /gender/);
});

test("the scene of a code is decoded, for a page and for the app", () => {
  const cases: [Parameters<typeof sceneOf>[0], string][] = [
    [{ scene: "id%3D1%26from%3Dqr" }, "id=1&from=qr"],
    [{ scene: "plain" }, "plain"],
    [{ scene: 1047, query: { scene: "id%3D1" } }, "id=1"],
    [{ scene: 1001, query: {} }, ""],
    [{ scene: 1001 }, ""],
    [{ scene: "100%" }, "100%"],
    [{}, ""],
    [undefined, ""],
  ];
  for (const [options, want] of cases) {
    assert.equal(sceneOf(options), want, JSON.stringify(options));
  }
});
