/**
 * The codes that the service answers errors with. Others may come; what to do
 * with them, the HTTP status says.
 */
export const codes = {
  /** A field is missing or wrong; the message names it. */
  invalid: 1001,
  /** There is no such endpoint: client and server are of different versions. */
  notFound: 1006,
  /** The login code was refused. The client has already tried a second one. */
  loginCodeRefused: 1008,
  /** No valid session. The client has already logged in again. */
  sessionInvalid: 1018,
  /** WeChat blocks this user, or a page of another site called. */
  refused: 1080,
  /** The body is larger than the service takes. */
  tooLarge: 1082,
  /** Too many requests: try again after retryAfter. */
  rateLimited: 1094,
  /** Something is away for the moment: the network, the service, WeChat. */
  unavailable: -1,
  /** A fault of the service. */
  internal: 2,
} as const;

/** What an error is made of. */
export interface ErrorParts {
  code: number;
  msg: string;
  status?: number;
  requestId?: string;
  retryAfter?: number;
  cause?: unknown;
}

/** The one kind of error that calls of the client are rejected with. */
export class SharesError extends Error {
  /** One of codes, or a newer one. */
  readonly code: number;
  /** A text that may be shown to the user. */
  readonly msg: string;
  /** The HTTP status; 0 when no answer arrived. */
  readonly status: number;
  /** The name of the request in the service's log; empty when no answer arrived. */
  readonly requestId: string;
  /** Seconds to wait before the next try; 0 when the service did not say. */
  readonly retryAfter: number;
  /** What the platform said, when no answer arrived. */
  readonly cause: unknown;

  constructor(parts: ErrorParts) {
    super(parts.msg);
    // Holds instanceof together where DevTools turns classes into functions.
    Object.setPrototypeOf(this, SharesError.prototype);
    this.name = "SharesError";
    this.code = parts.code;
    this.msg = parts.msg;
    this.status = parts.status || 0;
    this.requestId = parts.requestId || "";
    this.retryAfter = parts.retryAfter || 0;
    this.cause = parts.cause;
  }
}

/** The languages that messages come in. */
export type Language = "zh" | "en";

const texts = {
  network: { zh: "网络异常，请稍后再试", en: "the network is unavailable: try again later" },
  answer: { zh: "服务返回异常，请稍后再试", en: "the service gave an unusable answer: try again later" },
  login: { zh: "微信登录失败，请稍后再试", en: "WeChat's login failed: try again later" },
};

/** The text of an error that the service has no part in. */
export function text(name: keyof typeof texts, language: Language | undefined): string {
  return texts[name][language || "zh"];
}
