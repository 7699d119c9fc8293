/**
 * The error codes of the service. For other codes, decide by the HTTP status.
 */
export const codes = {
  /** A field is missing or invalid; the message names it. */
  invalid: 1001,
  /** There is no such endpoint: client and server have different versions. */
  notFound: 1006,
  /** The login code was refused. The client has already tried a second one. */
  loginCodeRefused: 1008,
  /** No valid session. The client has already logged in again. */
  sessionInvalid: 1018,
  /** WeChat blocks this user, or the call came from a page of another site. */
  refused: 1080,
  /** The body is larger than the service accepts. */
  tooLarge: 1082,
  /** Too many requests: try again after retryAfter. */
  rateLimited: 1094,
  /** The network, the service or WeChat is temporarily unavailable. */
  unavailable: -1,
  /** A fault of the service. */
  internal: 2,
} as const;

/** The parts of a SharesError. */
export interface ErrorParts {
  code: number;
  msg: string;
  status?: number;
  requestId?: string;
  retryAfter?: number;
  cause?: unknown;
}

/** The error of every rejected call of the client. */
export class SharesError extends Error {
  /** One of codes, or a newer one. */
  readonly code: number;
  /** A text for the user. */
  readonly msg: string;
  /** The HTTP status; 0 if no answer arrived. */
  readonly status: number;
  /** The request's id in the service's log; empty if no answer arrived. */
  readonly requestId: string;
  /** Seconds to wait before the next try; 0 if the service gave none. */
  readonly retryAfter: number;
  /** The platform's error if no answer arrived. */
  readonly cause: unknown;

  constructor(parts: ErrorParts) {
    super(parts.msg);
    // Keeps instanceof working if DevTools compiles classes to functions.
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

/** The languages of messages. */
export type Language = "zh" | "en";

const texts = {
  network: { zh: "网络异常，请稍后再试", en: "the network is unavailable: try again later" },
  answer: { zh: "服务返回异常，请稍后再试", en: "the service returned an invalid answer: try again later" },
  signedOut: { zh: "已退出登录，请重新登录", en: "signed out: log in again" },
  login: { zh: "微信登录失败，请稍后再试", en: "WeChat's login failed: try again later" },
};

/** Returns the text of an error that is not from the service. */
export function text(name: keyof typeof texts, language: Language | undefined): string {
  return texts[name][language || "zh"];
}
