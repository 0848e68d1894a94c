#!/usr/bin/env node
// tape-guest build SOURCE --wit FOLDER --out FILE   the component of the `connector` that SOURCE exports
// tape-guest test FOLDER                            every *.test.ts in FOLDER, by node's own test runner
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const USAGE = "usage: tape-guest build SOURCE --wit FOLDER --out FILE | tape-guest test FOLDER";
const COMPONENT = path.join(path.dirname(fileURLToPath(import.meta.url)), "../src/component.ts");

const { values, positionals } = parseArgs({ allowPositionals: true, options: { wit: { type: "string" }, out: { type: "string" } } });
const [command, place] = positionals;
if (command === "build" && place && values.wit && values.out) await build(place, values.wit, values.out);
else if (command === "test" && place) await test(place);
else fail(USAGE, 2);

async function build(source, wit, out) {
  if (!(await exists(source))) fail(`${source} is not there: name the file that exports \`connector\``);
  if (!(await exists(wit))) fail(`${wit} is not there: name the folder with the contract, tape-connector@1.0.0`);
  const [esbuild, { componentize }] = [await tool("esbuild"), await tool("componentize-qjs")];
  const entry = `import ${JSON.stringify(COMPONENT)};\nexport { connector } from ${JSON.stringify(path.resolve(source))};\n`;
  const { outputFiles } = await bundled(esbuild, {
    stdin: { contents: entry, resolveDir: process.cwd(), sourcefile: "component.ts", loader: "ts" },
    platform: "neutral", mainFields: ["module", "main"], external: ["tape:*"], write: false, minifySyntax: true, minifyWhitespace: true,
  });
  const { component } = await componentize({ witPath: wit, world: "guest", jsSource: outputFiles[0].text, sync: true });
  await mkdir(path.dirname(out), { recursive: true });
  // In one move: who reads the file meanwhile sees the old one or the new one.
  await writeFile(`${out}.${process.pid}`, component);
  await rename(`${out}.${process.pid}`, out);
}

async function test(folder) {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".test.ts")).map((file) => path.join(folder, file));
  if (files.length === 0) fail(`there is no *.test.ts in ${folder}`);
  const made = await mkdtemp(path.join(tmpdir(), "tape-guest-"));
  try {
    await bundled(await tool("esbuild"), { entryPoints: files, outdir: made, platform: "node", sourcemap: "inline", outExtension: { ".js": ".mjs" } });
    const tests = (await readdir(made)).map((file) => path.join(made, file));
    const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", ...tests], { stdio: "inherit" });
    process.exitCode = status ?? 1;
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

async function bundled(esbuild, options) {
  try {
    return await esbuild.build({ bundle: true, format: "esm", target: "es2023", charset: "utf8", legalComments: "none", logLevel: "error", ...options });
  } catch {
    process.exit(1); // esbuild has said what is wrong, and where.
  }
}

async function tool(name) {
  try {
    return await import(name);
  } catch (error) {
    return fail(`${name} cannot be loaded (${error.code ?? error.message}). Cure: npm ci`);
  }
}

async function exists(file) {
  return stat(file).then(() => true, () => false);
}

function fail(message, code = 1) {
  console.error(message);
  process.exit(code);
}
