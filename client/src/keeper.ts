import { codes, SharesError, text } from "./errors.js";
import { PublicCalls, type OauthResp } from "./generated.js";
import type { Http } from "./http.js";
import { within, type Call } from "./transport.js";

/** Where the session survives a restart of the app. Its methods may throw. */
export interface SessionStorage {
  /** The text stored under key; anything else counts as nothing. */
  get(key: string): unknown;
  set(key: string, value: string): void;
  remove(key: string): void;
}

/** How sessions come into being and where they stay. */
export interface KeeperOptions {
  /** Resolves with a fresh login code of wx.login. */
  login(): Promise<string>;
  /** Has each login refresh what WeChat tells about the user, the unionid. */
  isUpdateUser?: boolean;
  /** By default the session lives in memory only. */
  storage?: SessionStorage;
  /** Key in storage, "shares.session" by default. */
  storageKey?: string;
}

/** A session and what this device knows of it. */
export interface Kept extends OauthResp {
  /** When it arrived and how long it lasts, in milliseconds of this device's clock. */
  receivedAt: number;
  lifetime: number;
  /** Which login it descends from; renewals keep it. */
  login: number;
}

/** Renewals, whatever asks for them, are this far apart, in milliseconds. */
const renewalPause = 30_000;

/**
 * Keeps the one session that all calls of a client share: stores it, renews
 * it, and logs in where there is none. What runs at the same time runs once.
 */
export class SessionKeeper {
  private kept: Kept | undefined;
  private loaded = false;
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
   * The session to call with. One that is near its end is renewed on the side:
   * until its end the old one serves.
   */
  async get(): Promise<Kept> {
    const kept = this.current();
    if (!kept || this.loggingIn) {
      return this.login(); // what there is has ended, or was refused
    }
    const age = this.http.now() - kept.receivedAt;
    if (age >= kept.lifetime) {
      return this.login();
    }
    if (age >= kept.lifetime * 0.75 || age < 0) {
      this.renew().catch(ignore); // the call goes on with what there is
    }
    return kept;
  }

  /** The session to use instead of one that the service refused. */
  async replace(refused: Kept): Promise<Kept> {
    const kept = this.current();
    // A renewal of what was refused is no better; a later login is.
    return kept && kept.login !== refused.login ? kept : this.login();
  }

  /** Logs in, once for all who ask meanwhile. */
  login(): Promise<Kept> {
    if (!this.loggingIn) {
      const done = () => (this.loggingIn = undefined);
      this.loggingIn = this.logIn();
      this.loggingIn.then(done, done);
    }
    return this.loggingIn;
  }

  /**
   * Asks for a fresh session if there is one to renew and the last try is a
   * while ago. When the service no longer knows it, the session is forgotten.
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

  /** Forgets the session; with a given one, only if that is still the one. */
  forget(only?: Kept): void {
    if (only && this.current() !== only) {
      return;
    }
    this.loaded = true;
    this.kept = undefined;
    try {
      this.options.storage?.remove(this.key());
    } catch {
      // What stays in a broken storage is refused by the service in the end.
    }
  }

  private async logIn(): Promise<Kept> {
    if (this.failure) {
      const { error, at, pause } = this.failure;
      const since = this.http.now() - at;
      if (since >= 0 && since < pause) {
        throw error; // the service asked for this pause
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
      // A code can be spent already, say by a request whose answer got lost.
      if (error instanceof SharesError && error.code === codes.loginCodeRefused) {
        return this.oauthOnce();
      }
      throw error;
    }
  }

  private async oauthOnce(): Promise<OauthResp> {
    let jscode: string;
    try {
      jscode = await within(this.http.timeout, this.options.login());
    } catch (cause) {
      throw new SharesError({ code: codes.unavailable, msg: text("login", this.http.language), cause });
    }
    return new Session(this.http, "").oauth({ jscode, isUpdateUser: this.options.isUpdateUser || false });
  }

  private async renewOnce(old: Kept): Promise<void> {
    this.quietUntil = this.http.now() + renewalPause;
    const fresh = await new Session(this.http, old.sessionId).reLogin();
    if (this.kept !== old) {
      return; // a login was quicker
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
      // A fresh session that seems to have ended tells of a wrong clock.
      lifetime: left > 0 ? left : 2 * renewalPause,
      login,
    };
    this.kept = kept;
    this.quietUntil = kept.receivedAt + renewalPause;
    try {
      this.options.storage?.set(this.key(), JSON.stringify(kept));
    } catch {
      // A full storage costs a login at the next start, nothing more.
    }
    return kept;
  }

  /** The session as it is, if there is one. */
  current(): Kept | undefined {
    if (!this.loaded) {
      this.loaded = true;
      try {
        this.kept = parse(this.options.storage?.get(this.key()));
      } catch {
        // An unreadable storage is an empty one.
      }
    }
    return this.kept;
  }

  private key(): string {
    return this.options.storageKey || "shares.session";
  }
}

/** The calls that the keeper makes, with the session that it chose. */
class Session extends PublicCalls {
  constructor(
    private readonly http: Http,
    private readonly sessionId: string,
  ) {
    super();
  }

  protected callPublic<Answer>(call: Call): Promise<Answer> {
    return this.http.send(call, this.sessionId);
  }
}

function parse(stored: unknown): Kept | undefined {
  if (typeof stored !== "string" || !stored) {
    return undefined;
  }
  const kept = JSON.parse(stored) as Kept;
  const whole =
    kept && typeof kept.sessionId === "string" && typeof kept.receivedAt === "number" && typeof kept.lifetime === "number";
  // Logins are counted from 1 in each run: what is stored is older than all.
  return whole ? { ...kept, login: 0 } : undefined;
}

function ignore(): void {}
