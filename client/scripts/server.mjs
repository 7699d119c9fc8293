// Builds the service that the tests run against, unless SHARES_BIN names one.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

if (!process.env.SHARES_BIN) {
  execFileSync("go", ["build", "-tags", "no_k8s,grpcnotrace", "-o", "client/build/shares", "."], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: "inherit",
  });
}
