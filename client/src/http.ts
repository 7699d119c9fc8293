import { codes, SharesError, text, type Language } from "./errors.js";
import type { Call, Transport, TransportResponse } from "./transport.js";

/** How to send requests. */
export interface HttpOptions {
  /** Scheme and host of the service, such as https://shares.example.com. */
  baseURL: string;
  transport: Transport;
  /** Milliseconds for one request, 10,000 by default. The service's own limit is 5,000. */
  timeout?: number;
  /** Language of messages; by default the platform's language, else Chinese. */
  language?: Language;
  /** Returns the time in milliseconds since 1970; for tests. */
  now?: () => number;
}

/** The minimum timeout of an upload, in milliseconds: it takes longer than a call. */
const uploadTimeout = 45_000;

/** Sends requests and turns answers into values or SharesErrors. */
export class Http {
  readonly timeout: number;
  readonly language: Language | undefined;
  private readonly base: string;
  private readonly transport: Transport;
  private readonly clock: () => number;
  private skew = 0;

  constructor(options: HttpOptions) {
    if (!/^https?:\/\/[^/]/.test(options.baseURL)) {
      throw new TypeError(`baseURL must be like https://shares.example.com, not ${JSON.stringify(options.baseURL)}`);
    }
    this.base = options.baseURL.replace(/\/+$/, "");
    this.transport = options.transport;
    this.timeout = options.timeout || 10_000;
    this.language = options.language;
    this.clock = options.now || Date.now;
  }

  /** Returns the time of this device's clock, in milliseconds. */
  now(): number {
    return this.clock();
  }

  /**
   * Returns the time of the service's clock, estimated from the Date of the
   * last answer: a phone's clock may be hours off.
   */
  serverNow(): number {
    return this.now() + this.skew;
  }

  /** Sends a call, with a session unless sessionId is empty. */
  async send<Answer>(call: Call, sessionId: string): Promise<Answer> {
    const headers: Record<string, string> = {};
    if (sessionId) {
      headers["Authorization"] = `Bearer ${sessionId}`;
    }
    if (this.language) {
      headers["Accept-Language"] = this.language;
    }
    for (const [name, value] of pairs(call.headers)) {
      headers[name] = value;
    }
    const query = pairs(call.query)
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
      .join("&");
    const url = this.base + call.path + (query && "?" + query);
    let response: TransportResponse;
    try {
      response = await this.exchange(call, url, headers);
    } catch (cause) {
      if (cause instanceof SharesError) {
        throw cause;
      }
      throw new SharesError({ code: codes.unavailable, msg: text("network", this.language), cause });
    }
    const date = Date.parse(response.header("Date"));
    if (date) {
      this.skew = date - this.now();
    }
    return this.read(response) as Answer;
  }

  private async exchange(call: Call, url: string, headers: Record<string, string>): Promise<TransportResponse> {
    const { method, body, file } = call;
    if (file === undefined) {
      const json = body === undefined ? {} : { body: JSON.stringify(body) };
      return this.transport.send({
        method,
        url,
        headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
        ...json,
        timeout: this.timeout,
      });
    }
    if (!this.transport.upload) {
      throw new Error("this transport does not support uploads");
    }
    return this.transport.upload({ url, headers, name: "file", file, timeout: Math.max(this.timeout, uploadTimeout) });
  }

  /**
   * Accepts both answer formats of the service: the plain one, and the legacy
   * service's envelope, because a server for old clients also serves this one.
   */
  private read(response: TransportResponse): unknown {
    const body = objectOf(response.body);
    if (body && response.status === 200) {
      if (typeof body["state"] !== "boolean" || !("error" in body)) {
        return body;
      }
      if (body["state"]) {
        return body["data"];
      }
    }
    const { code, msg, error } = body || {};
    const message = typeof msg === "string" ? msg : error;
    const known = typeof code === "number" && typeof message === "string";
    throw new SharesError({
      // An answer in another format is from a proxy before the service.
      code: known ? code : codes.unavailable,
      msg: known ? message : text("answer", this.language),
      status: response.status,
      requestId: response.header("X-Request-Id"),
      retryAfter: Number(response.header("Retry-After")) || 0,
    });
  }
}

function objectOf(body: unknown): Record<string, unknown> | undefined {
  let value = body;
  if (typeof body === "string") {
    try {
      value = JSON.parse(body);
    } catch {
      return undefined;
    }
  }
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

/** Returns the names and values to send; a list repeats its name. */
function pairs(values: object | undefined): [string, string][] {
  const all: [string, string][] = [];
  const byName = (values || {}) as Record<string, unknown>;
  for (const name of Object.keys(byName)) {
    const value = byName[name];
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) {
        all.push([name, String(one)]);
      }
    }
  }
  return all;
}
