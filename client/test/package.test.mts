// Packs the package and uses it in a fresh project, offline.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Phone } from "./platform.mjs";
import { startServer } from "./server.mjs";

const client = fileURLToPath(new URL("../..", import.meta.url));
const server = await startServer();
const project = mkdtempSync(join(tmpdir(), "shares-project-"));
after(() => rmSync(project, { recursive: true, force: true }));

// Packs the build of `npm test`.
const packed = JSON.parse(
  execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", project], { cwd: client, encoding: "utf8" }),
);
const { filename, files } = (Array.isArray(packed) ? packed[0] : Object.values(packed)[0]) as {
  filename: string;
  files: { path: string }[];
};
writeFileSync(join(project, "package.json"), '{ "name": "project", "version": "1.0.0", "private": true }');
execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", join(project, filename)], { cwd: project, stdio: "pipe" });
const installed = join(project, "node_modules/shares-client");

const run = promisify(execFile);

test("the package has both forms, their types, and nothing else", () => {
  const names = files.map((file) => file.path);
  for (const folder of ["dist", "miniprogram_dist"]) {
    for (const file of ["index.js", "index.d.ts", "generated.js", "generated.d.ts"]) {
      assert.ok(names.includes(`${folder}/${file}`), `${folder}/${file}`);
    }
  }
  const others = names.filter((name) => !/^(dist|miniprogram_dist)\/[\w.]+\.(js|d\.ts)$/.test(name));
  assert.deepEqual(others.sort(), ["README.md", "dist/package.json", "package.json"]);
});

test("DevTools finds the files for miniprogram_npm", () => {
  const { miniprogram, dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  assert.ok(existsSync(join(installed, miniprogram, "index.js")));
  assert.equal(dependencies, undefined);
});

const program = `
const client = new Client({
  baseURL: process.argv[2],
  transport: fetchTransport(fetch),
  login: () => Promise.resolve(process.argv[3]),
});
client.updateUserInfo({ nickName: "packed" })
  .then(() => client.getUserInfo())
  .then((me) => console.log(me.nickName, sceneOf({ scene: "a%3D1" })));
`;
const forms = {
  "app.mjs": `import { Client, fetchTransport, sceneOf } from "shares-client";` + program,
  "app.cjs": `const { Client, fetchTransport, sceneOf } = require("shares-client");` + program,
};
for (const [name, text] of Object.entries(forms)) {
  test(`plain JavaScript uses it: ${name}`, async () => {
    writeFileSync(join(project, name), text);
    const { stdout } = await run(process.execPath, [name, server.url, await server.code(name)], { cwd: project });
    assert.equal(stdout, "packed a=1\n");
  });
}

test("the program of the README works in a mini program", async () => {
  const text = /```js\n([\s\S]*?)```/.exec(readFileSync(join(client, "README.md"), "utf8"))?.[1] ?? "";
  assert.match(text, /"https:\/\/shares\.example\.com"/);
  const code = text.replace("https://shares.example.com", server.url);
  const phone = new Phone(server, "readme");
  let app: unknown;
  const start = new Function("require", "wx", "App", "getApp", `return (async () => { ${code}; return me; })()`);
  const me = await start(createRequire(join(project, "app.js")), phone, (a: unknown) => (app = a), () => app);
  assert.match(me.openid, /./);
  assert.deepEqual(phone.requests, ["oauth", "get_user_info", "upset_user_info"]);
});

test("TypeScript finds its types with every module resolution", async () => {
  mkdirSync(join(project, "src"));
  writeFileSync(
    join(project, "src/app.ts"),
    `import { Client, type GetUserInfoResp } from "shares-client";
export const name = async (client: Client): Promise<string> => {
  const me: GetUserInfoResp = await client.getUserInfo();
  return me.nickName;
};
// @ts-expect-error a misspelt field is an error, because there are types
export const wrong = async (client: Client) => (await client.getUserInfo()).nickname;
`,
  );
  const tsc = join(client, "node_modules/typescript/bin/tsc");
  // test/types covers the third one, a bundler's.
  const ways = [
    ["--module", "CommonJS", "--moduleResolution", "node10"],
    ["--module", "NodeNext"],
  ];
  await Promise.all(
    ways.map((way) =>
      run(process.execPath, [tsc, "--strict", "--noEmit", "--target", "ES2015", "--lib", "ES2015", ...way, "src/app.ts"], {
        cwd: project,
      }).catch((error) => assert.fail(`${way.join(" ")}: ${error.stdout}`)),
    ),
  );
});
