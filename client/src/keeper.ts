import { codes, SharesError, text } from "./errors.js";
import { SessionCalls, type OauthResp } from "./generated.js";
import type { Http } from "./http.js";
import { within, type Call } from "./transport.js";

/** Storage that keeps the session over restarts of the app. Its methods may throw. */
export interface SessionStorage {
  /** Returns the text stored under key. Values of other types count as absent. */
  get(key: string): unknown;
  set(key: string, value: string): void;
  remove(key: string): void;
}

/** How to create and store sessions. */
export interface KeeperOptions {
  /** Resolves with a new login code of wx.login. */
  login(): Promise<string>;
  /** Makes each login update the user's unionid from WeChat. */
  isUpdateUser?: boolean;
  /** By default the session is only in memory. */
  storage?: SessionStorage;
  /** Key in storage, "shares.session" by default. */
  storageKey?: string;
}

/** A session and its times on this device. */
export interface Kept extends OauthResp {
  /** When it arrived and how long it is valid, in milliseconds of this device's clock. */
  receivedAt: number;
  lifetime: number;
  /** The number of its login; renewals keep it. */
  login: number;
}

/** The minimum time between two renewals, in milliseconds. */
const renewalPause = 30_000;

/**
 * Keeps the session that all calls of a client share: stores it, renews it, and
 * logs in if there is none. Concurrent logins or renewals share one request.
 */
export class SessionKeeper {
  private kept: Kept | undefined;
  private loaded = false;
  /** Whether the user has signed out: then only signIn makes a session. */
  private left = false;
  private logins = 0;
  private quietUntil = 0;
  private loggingIn: Promise<Kept> | undefined;
  private renewing: Promise<void> | undefined;
  private failure: { error: unknown; at: number; pause: number } | undefined;

  constructor(
    private readonly http: Http,
    private readonly options: KeeperOptions,
  ) {}

  /**
   * Returns the session for a call. If the session expires soon, it is also
   * renewed in the background. It throws after leave, unless leaving is set.
   */
  async get(leaving = false): Promise<Kept> {
    const kept = this.current();
    this.refuseLeft(leaving);
    if (!kept || this.loggingIn) {
      return this.login(); // there is no session, or it was refused
    }
    const age = this.http.now() - kept.receivedAt;
    if (age >= kept.lifetime) {
      return this.login();
    }
    if (age >= kept.lifetime * 0.75 || age < 0) {
      this.renew().catch(ignore); // the call uses the old session
    }
    return kept;
  }

  /** Returns the session to use instead of a refused one. Throws like get. */
  async replace(refused: Kept, leaving = false): Promise<Kept> {
    const kept = this.current();
    this.refuseLeft(leaving);
    // A renewal of the refused session would be refused, too; a later login is not.
    return kept && kept.login !== refused.login ? kept : this.login();
  }

  /** Logs in. Concurrent callers share one login. */
  login(): Promise<Kept> {
    if (!this.loggingIn) {
      const done = () => (this.loggingIn = undefined);
      this.loggingIn = this.logIn();
      this.loggingIn.then(done, done);
    }
    return this.loggingIn;
  }

  /**
   * Renews the session, unless there is none or the last renewal was less than
   * renewalPause ago. If the service no longer accepts it, deletes it.
   */
  renew(): Promise<void> {
    const kept = this.current();
    if (!this.renewing && kept && this.http.now() >= this.quietUntil) {
      const done = () => (this.renewing = undefined);
      this.renewing = this.renewOnce(kept);
      this.renewing.then(done, done);
    }
    return this.renewing || Promise.resolve();
  }

  /** Like get, also if the user has signed out. */
  signIn(): Promise<Kept> {
    this.current(); // reads whether the user has signed out
    this.left = false;
    return this.get();
  }

  /**
   * Runs end, which ends the sessions at the service, and then stays signed out,
   * also after a restart. Meanwhile other calls are refused, because they would
   * log in again.
   */
  async leave<Answer>(end: () => Promise<Answer>): Promise<Answer> {
    this.current();
    this.refuseLeft(false);
    this.left = true;
    let answer: Answer;
    try {
      answer = await end();
    } catch (error) {
      this.left = false;
      throw error;
    }
    this.forget();
    try {
      this.options.storage?.set(this.key(), signedOut);
    } catch {
      // If the storage is full, the next start logs in again.
    }
    return answer;
  }

  private refuseLeft(leaving: boolean): void {
    if (this.left && !leaving) {
      throw new SharesError({ code: codes.sessionInvalid, msg: text("signedOut", this.http.language) });
    }
  }

  /** Deletes the session; with `only`, only if that is still the current one. */
  forget(only?: Kept): void {
    const kept = this.current();
    if (!kept || (only && kept !== only)) {
      return; // there is none, or another one
    }
    this.loaded = true;
    this.kept = undefined;
    try {
      this.options.storage?.remove(this.key());
    } catch {
      // If the session stays in the storage, the service will refuse it.
    }
  }

  private async logIn(): Promise<Kept> {
    if (this.failure) {
      const { error, at, pause } = this.failure;
      const since = this.http.now() - at;
      if (since >= 0 && since < pause) {
        throw error; // the service requested this pause
      }
    }
    try {
      const kept = this.keep(await this.oauth(), ++this.logins);
      this.failure = undefined;
      return kept;
    } catch (error) {
      const pause = error instanceof SharesError ? error.retryAfter * 1000 : 0;
      this.failure = { error, at: this.http.now(), pause };
      throw error;
    }
  }

  private async oauth(): Promise<OauthResp> {
    try {
      return await this.oauthOnce();
    } catch (error) {
      // The code may be used already, for example by a request whose answer was lost.
      if (error instanceof SharesError && error.code === codes.loginCodeRefused) {
        return this.oauthOnce();
      }
      throw error;
    }
  }

  /** Returns a new login code. */
  async code(): Promise<string> {
    try {
      return await within(this.http.timeout, this.options.login());
    } catch (cause) {
      throw new SharesError({ code: codes.unavailable, msg: text("login", this.http.language), cause });
    }
  }

  private async oauthOnce(): Promise<OauthResp> {
    const jscode = await this.code();
    return new Session(this.http, "").oauth({ jscode, isUpdateUser: this.options.isUpdateUser || false });
  }

  private async renewOnce(old: Kept): Promise<void> {
    this.quietUntil = this.http.now() + renewalPause;
    const fresh = await new Session(this.http, old.sessionId).reLogin();
    if (this.kept !== old) {
      return; // a login has replaced it
    }
    if (fresh.relogin) {
      this.forget();
    } else {
      this.keep(fresh, old.login);
    }
  }

  private keep(answer: OauthResp, login: number): Kept {
    const left = answer.overdueTime * 1000 - this.http.serverNow();
    const kept: Kept = {
      sessionId: answer.sessionId,
      openId: answer.openId,
      overdueTime: answer.overdueTime,
      receivedAt: this.http.now(),
      // A new session that seems to have expired indicates a wrong clock.
      lifetime: left > 0 ? left : 2 * renewalPause,
      login,
    };
    this.kept = kept;
    this.quietUntil = kept.receivedAt + renewalPause;
    try {
      this.options.storage?.set(this.key(), JSON.stringify(kept));
    } catch {
      // If the storage is full, the next start logs in again.
    }
    return kept;
  }

  /** Returns the session, if there is one, without renewing it. */
  current(): Kept | undefined {
    if (!this.loaded) {
      this.loaded = true;
      try {
        const stored = this.options.storage?.get(this.key());
        this.left = stored === signedOut;
        this.kept = parse(stored);
      } catch {
        // An unreadable storage counts as empty.
      }
    }
    return this.kept;
  }

  private key(): string {
    return this.options.storageKey || "shares.session";
  }
}

/** Calls with a given session. */
export class Session extends SessionCalls {
  constructor(
    private readonly http: Http,
    private readonly sessionId: string,
  ) {
    super();
  }

  protected callPublic<Answer>(call: Call): Promise<Answer> {
    return this.http.send(call, this.sessionId);
  }

  protected call<Answer>(call: Call): Promise<Answer> {
    return this.callPublic(call);
  }
}

/** Is stored instead of a session after the user has signed out. */
const signedOut = `{"signedOut":true}`;

function parse(stored: unknown): Kept | undefined {
  if (typeof stored !== "string" || !stored) {
    return undefined;
  }
  const kept = JSON.parse(stored) as Kept;
  const whole =
    kept && typeof kept.sessionId === "string" && typeof kept.receivedAt === "number" && typeof kept.lifetime === "number";
  // Logins count from 1 in each run, so a stored session is older than all of them.
  return whole ? { ...kept, login: 0 } : undefined;
}

function ignore(): void {}
