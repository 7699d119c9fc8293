// Builds the service for the tests, unless SHARES_BIN names a binary.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

if (!process.env.SHARES_BIN) {
  execFileSync("go", ["build", "-tags", "no_k8s,grpcnotrace", "-o", "client/build/shares", "."], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: "inherit",
  });
}
