// Runs the real, fully embedded service during the tests of a file.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

export interface Server {
  url: string;
  log(): string;
  /** Returns a login code of the simulated WeChat. */
  code(user: string, more?: object): Promise<string>;
  simulator(path: string, body: object): Promise<Record<string, unknown>>;
}

/** Long enough for a busy machine. */
const deadlines = {
  SHARES_TIMEOUT: "60s",
  SHARES_RPC_TIMEOUT: "50s",
  WECHAT_TIMEOUT: "10s",
  REDIS_TIMEOUT: "5s",
  SHARES_SHUTDOWN: "90s",
};

/** Starts `shares serve` and stops it after the current test or file. */
export async function startServer(env: Record<string, string> = {}): Promise<Server> {
  const data = mkdtempSync(join(tmpdir(), "shares-client-"));
  const binary = process.env["SHARES_BIN"] || fileURLToPath(new URL("../shares", import.meta.url));
  const child = spawn(binary, ["serve"], {
    env: { PATH: process.env["PATH"], SHARES_PORT: "0", SHARES_DATA_DIR: data, ...deadlines, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  process.once("exit", () => child.kill("SIGKILL"));
  let log = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`shares serve ended with ${code}:\n${log}`)));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
      const said = /^shares \S+ on http:\/\/localhost:(\d+)/m.exec(log);
      if (said) {
        resolve(`http://127.0.0.1:${said[1]}`);
      }
    });
  });
  after(async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(data, { recursive: true, force: true });
  });
  const simulator = async (path: string, body: object) => {
    const response = await fetch(`${url}/simulator/${path}`, { method: "POST", body: JSON.stringify(body) });
    const answer = (await response.json()) as Record<string, unknown>;
    if (!response.ok) {
      throw new Error(`simulator/${path}: ${JSON.stringify(answer)}`);
    }
    return answer;
  };
  return {
    url,
    log: () => log,
    simulator,
    code: async (user, more = {}) => String((await simulator("code", { user, ...more }))["code"]),
  };
}
