// Builds both forms of the package and copies the mini program's form to the
// place in the example where DevTools' "build npm" puts it.
import { execFileSync } from "node:child_process";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const tsc = "node_modules/typescript/bin/tsc";
const example = "example/miniprogram_npm/shares-client";
for (const folder of ["dist", "miniprogram_dist", example]) {
  rmSync(folder, { recursive: true, force: true });
}
execFileSync(process.execPath, [tsc, "-p", "tsconfig.json"], { stdio: "inherit" });
execFileSync(process.execPath, [tsc, "-p", "tsconfig.miniprogram.json"], { stdio: "inherit" });
// Only dist has ES modules; the rest of the package is CommonJS.
writeFileSync("dist/package.json", '{ "type": "module" }\n');
cpSync("miniprogram_dist", example, { recursive: true });
