import { Client, type ClientOptions } from "./client.js";
import type { SessionStorage } from "./keeper.js";
import { requestTransport, type Requester } from "./transport.js";

/** The options if the platform provides transport, login and storage. */
export type PlatformOptions = Pick<ClientOptions, "baseURL"> & Partial<ClientOptions>;

/** The part of uni that is used here; wx has it, too. */
export interface Uni extends Requester {
  login(options: {
    provider: "weixin";
    timeout: number;
    success(result: { code: string }): void;
    fail(error: unknown): void;
  }): unknown;
  getStorageSync(key: string): unknown;
  setStorageSync(key: string, value: string): void;
  removeStorageSync(key: string): void;
}

/** The part of wx that is used here. */
export interface Weixin extends Uni {
  onAppShow(listener: () => void): void;
}

/**
 * Returns the client of a mini program. It renews its session whenever the app
 * comes to the foreground, so create only one, in app.js.
 */
export function forWeixin(wx: Weixin, options: PlatformOptions): Client {
  const client = forUni(wx, options);
  wx.onAppShow(() => {
    client.onShow();
  });
  return client;
}

/** Returns the client of a uni-app. Call its onShow in the onShow of App.vue. */
export function forUni(uni: Uni, options: PlatformOptions): Client {
  return new Client({
    transport: requestTransport(uni),
    login: () =>
      new Promise((resolve, reject) => {
        uni.login({
          provider: "weixin",
          timeout: options.timeout || 10_000,
          success: (result) => resolve(result.code),
          fail: reject,
        });
      }),
    storage: storageOf(uni),
    ...options,
  });
}

function storageOf(uni: Uni): SessionStorage {
  return {
    get: (key) => uni.getStorageSync(key),
    set: (key, value) => uni.setStorageSync(key, value),
    remove: (key) => uni.removeStorageSync(key),
  };
}
