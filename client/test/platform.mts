// Implements the parts of wx and uni that a client uses, with real HTTP.
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import type { Weixin } from "shares-client";
import type { Server } from "./server.mjs";

type RequestOptions = Parameters<Weixin["request"]>[0];
type UploadOptions = Parameters<Weixin["uploadFile"]>[0];
type LoginOptions = Parameters<Weixin["login"]>[0];

export class Phone implements Weixin {
  /** Paths of the sent requests, without their common prefix. */
  requests: string[] = [];
  logins = 0;
  stored = new Map<string, unknown>();
  /** If set, replaces the login that returns a new code of the user. */
  login_: ((options: LoginOptions) => void) | undefined;
  private readonly shown: (() => void)[] = [];

  constructor(
    private readonly server: Server,
    readonly user: string,
    /** uni has no onAppShow and lower-case headers. */
    private readonly kind: "wx" | "uni" = "wx",
  ) {}

  request = (options: RequestOptions): unknown => {
    const path = new URL(options.url).pathname;
    this.requests.push(path.replace("/shares/api/v1/weixin.", ""));
    const outgoing = request(options.url, { method: options.method, headers: options.header, timeout: options.timeout });
    outgoing.on("timeout", () => outgoing.destroy(new Error("request:fail timeout")));
    outgoing.on("error", (error) => options.fail({ errMsg: `request:fail ${error.message}` }));
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        let data: unknown = text;
        try {
          data = JSON.parse(text); // both platforms decode JSON by default
        } catch {}
        options.success({ statusCode: response.statusCode || 0, data, header: this.headers(response.rawHeaders) });
      });
    });
    outgoing.end(options.data);
    return {};
  };

  uploadFile = (options: UploadOptions): unknown => {
    this.requests.push(new URL(options.url).pathname.replace("/shares/api/v1/weixin.", ""));
    const form = new FormData();
    readFile(options.filePath)
      .then((file) => {
        form.append(options.name, new Blob([file]), "tmp_1.jpeg");
        return fetch(options.url, { method: "POST", headers: options.header, body: form });
      })
      // Unlike request, uploadFile does not decode JSON and passes no headers.
      .then(async (response) => options.success({ statusCode: response.status, data: await response.text() }))
      .catch((error: unknown) => options.fail({ errMsg: `uploadFile:fail ${error}` }));
    return {};
  };

  login = (options: LoginOptions): unknown => {
    this.logins++;
    if (this.login_) {
      this.login_(options);
    } else {
      this.server.code(this.user).then((code) => options.success({ code }), options.fail);
    }
    return undefined;
  };

  getStorageSync = (key: string): unknown => this.stored.get(key) ?? "";
  setStorageSync = (key: string, value: string): void => void this.stored.set(key, value);
  removeStorageSync = (key: string): void => void this.stored.delete(key);
  onAppShow = (listener: () => void): void => void this.shown.push(listener);

  show(): void {
    this.shown.forEach((listener) => listener());
  }

  takeRequests(): string[] {
    return this.requests.splice(0);
  }

  private headers(raw: string[]): object {
    const headers: Record<string, string> = {};
    for (let i = 0; i < raw.length; i += 2) {
      headers[this.kind === "uni" ? raw[i]!.toLowerCase() : raw[i]!] = raw[i + 1]!;
    }
    return headers;
  }
}
