import { codes, SharesError, text, type Language } from "./errors.js";
import type { Transport, TransportResponse, Upload } from "./transport.js";

/** Where and how requests go out. */
export interface HttpOptions {
  /** Scheme and host of the service, such as https://shares.example.com. */
  baseURL: string;
  transport: Transport;
  /** Milliseconds for one request, 10,000 by default; the service itself gives up after 5,000. */
  timeout?: number;
  /** Language of messages; by default what the platform prefers, else Chinese. */
  language?: Language;
  /** The time in milliseconds since 1970, for tests. */
  now?: () => number;
}

/** A file takes longer than a request, in milliseconds at least. */
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
    this.base = options.baseURL.replace(/\/+$/, "");
    this.transport = options.transport;
    this.timeout = options.timeout || 10_000;
    this.language = options.language;
    this.clock = options.now || Date.now;
  }

  /** The time by this device's clock, in milliseconds. */
  now(): number {
    return this.clock();
  }

  /**
   * The time by the service's clock, as far as answers have told it: phones
   * may be hours off.
   */
  serverNow(): number {
    return this.now() + this.skew;
  }

  /** Posts req; without a sessionId as nobody. */
  send<Answer>(path: string, req: object, sessionId: string): Promise<Answer> {
    return this.exchange(sessionId, (headers) =>
      this.transport.send({
        url: this.base + path,
        headers: { "Content-Type": "application/json", ...headers },
        body: JSON.stringify(req),
        timeout: this.timeout,
      }),
    );
  }

  /** Posts a file. */
  upload<Answer>(path: string, file: Upload, sessionId: string): Promise<Answer> {
    return this.exchange(sessionId, async (headers) => {
      if (!this.transport.upload) {
        throw new Error("this transport uploads nothing");
      }
      return this.transport.upload({
        url: this.base + path,
        headers,
        name: "file",
        file,
        timeout: Math.max(this.timeout, uploadTimeout),
      });
    });
  }

  private async exchange<Answer>(
    sessionId: string,
    send: (headers: Record<string, string>) => Promise<TransportResponse>,
  ): Promise<Answer> {
    const headers: Record<string, string> = {};
    if (sessionId) {
      headers["Authorization"] = `Bearer ${sessionId}`;
    }
    if (this.language) {
      headers["Accept-Language"] = this.language;
    }
    let response: TransportResponse;
    try {
      response = await send(headers);
    } catch (cause) {
      throw new SharesError({ code: codes.unavailable, msg: text("network", this.language), cause });
    }
    const date = Date.parse(response.header("Date"));
    if (date) {
      this.skew = date - this.now();
    }
    return this.read(response) as Answer;
  }

  /**
   * Takes both forms that the service can be set to: the plain one, and the
   * first system's envelope, so that a server that still serves old clients
   * serves this one too.
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
      // What is not in the service's form came from something before it.
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
