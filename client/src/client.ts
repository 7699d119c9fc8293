import { codes, SharesError } from "./errors.js";
import { SessionCalls, type DeleteUserInfoResp, type LogoutResp } from "./generated.js";
import { Http, type HttpOptions } from "./http.js";
import { Session, SessionKeeper, type Kept, type KeeperOptions } from "./keeper.js";
import type { Call } from "./transport.js";

/** The options of a Client. */
export interface ClientOptions extends HttpOptions, KeeperOptions {}

/** The user who is logged in. */
export interface LoggedIn {
  openId: string;
  /** When the session expires unless it is renewed, in unix seconds of the service's clock. */
  overdueTime: number;
}

/**
 * The service, with one method per endpoint. Each method logs in when it needs
 * a session. Every rejection is a SharesError. Create one client for the app.
 */
export class Client extends SessionCalls {
  private readonly http: Http;
  private readonly keeper: SessionKeeper;

  constructor(options: ClientOptions) {
    super();
    this.http = new Http(options);
    this.keeper = new SessionKeeper(this.http, options);
  }

  /**
   * Returns the current user. Logs in first if necessary, also
   * after logout or deleteUserInfo.
   */
  async login(): Promise<LoggedIn> {
    const { openId, overdueTime } = await this.keeper.signIn();
    return { openId, overdueTime };
  }

  /**
   * Ends all sessions of the user, on all devices. After that the client stays
   * signed out until login is called: other calls are rejected with code
   * sessionInvalid.
   */
  override logout(): Promise<LogoutResp> {
    return this.leave((session) => session.logout());
  }

  /**
   * Deletes the user's account with a new login code. After that the client
   * stays signed out, as after logout.
   */
  override deleteUserInfo(): Promise<DeleteUserInfoResp> {
    return this.leave(async (session) => session.deleteUserInfo({ jscode: await this.keeper.code() }));
  }

  private leave<Answer>(end: (session: Session) => Promise<Answer>): Promise<Answer> {
    return this.keeper.leave(() => this.withSession(({ sessionId }) => end(new Session(this.http, sessionId)), true));
  }

  /**
   * Renews the session, unless there is none or it was renewed in the last 30
   * seconds. Call it when the app comes to the foreground; a client of forWeixin
   * calls it itself. A failed renewal is no error, because the session stays
   * valid until it expires.
   */
  async onShow(): Promise<void> {
    try {
      await this.keeper.renew();
    } catch {
      // See above.
    }
  }

  /** Deletes the session on this device. */
  forget(): void {
    this.keeper.forget();
  }

  protected callPublic<Answer>(call: Call): Promise<Answer> {
    return this.http.send(call, this.keeper.current()?.sessionId || "");
  }

  protected call<Answer>(call: Call): Promise<Answer> {
    return this.withSession(({ sessionId }) => this.http.send(call, sessionId));
  }

  /** Sends a call, and once again with a new session if the service refuses the first one. */
  private async withSession<Answer>(send: (kept: Kept) => Promise<Answer>, leaving = false): Promise<Answer> {
    const kept = await this.keeper.get(leaving);
    try {
      return await send(kept);
    } catch (error) {
      if (!sessionRefused(error)) {
        throw error;
      }
    }
    const fresh = await this.keeper.replace(kept, leaving);
    try {
      return await send(fresh);
    } catch (error) {
      if (sessionRefused(error)) {
        this.keeper.forget(fresh); // a third try would not help
      }
      throw error;
    }
  }
}

function sessionRefused(error: unknown): boolean {
  return error instanceof SharesError && error.code === codes.sessionInvalid;
}
