import { codes, SharesError } from "./errors.js";
import { SessionCalls } from "./generated.js";
import { Http, type HttpOptions } from "./http.js";
import { SessionKeeper, type KeeperOptions } from "./keeper.js";
import type { Call } from "./transport.js";

/** Everything a client can be told. */
export interface ClientOptions extends HttpOptions, KeeperOptions {}

/** Who is logged in. */
export interface LoggedIn {
  openId: string;
  /** When the session ends unless it is renewed, in unix seconds of the service's clock. */
  overdueTime: number;
}

/**
 * The service, one method per endpoint. There is no need to log in first:
 * whatever is called finds or makes the session that it needs. Every rejection
 * is a SharesError. One client serves a whole app.
 */
export class Client extends SessionCalls {
  private readonly http: Http;
  private readonly keeper: SessionKeeper;

  constructor(options: ClientOptions) {
    super();
    this.http = new Http(options);
    this.keeper = new SessionKeeper(this.http, options);
  }

  /** Tells who is logged in, and logs in where nobody is. */
  async login(): Promise<LoggedIn> {
    const { openId, overdueTime } = await this.keeper.get();
    return { openId, overdueTime };
  }

  /**
   * Renews the session, if there is one and its last renewal is more than half
   * a minute ago. To be called when the app comes to the front; clients of
   * forWeixin and forUni do so themselves. A renewal that fails is no error:
   * the session serves until its end.
   */
  async onShow(): Promise<void> {
    try {
      await this.keeper.renew();
    } catch {
      // Said above.
    }
  }

  /** Forgets the session on this device. */
  forget(): void {
    this.keeper.forget();
  }

  protected callPublic<Answer>(call: Call): Promise<Answer> {
    return this.http.send(call, this.keeper.current()?.sessionId || "");
  }

  protected call<Answer>(call: Call): Promise<Answer> {
    return this.withSession((sessionId) => this.http.send(call, sessionId));
  }

  /** Sends a call; when the service knows the session no more, once again with a new one. */
  private async withSession<Answer>(send: (sessionId: string) => Promise<Answer>): Promise<Answer> {
    const kept = await this.keeper.get();
    try {
      return await send(kept.sessionId);
    } catch (error) {
      if (!sessionRefused(error)) {
        throw error;
      }
    }
    const fresh = await this.keeper.replace(kept);
    try {
      return await send(fresh.sessionId);
    } catch (error) {
      if (sessionRefused(error)) {
        this.keeper.forget(fresh); // a third try would be no better
      }
      throw error;
    }
  }
}

function sessionRefused(error: unknown): boolean {
  return error instanceof SharesError && error.code === codes.sessionInvalid;
}
