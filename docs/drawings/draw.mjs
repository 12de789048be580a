// Draw every .dot file of this directory as an .svg beside it: `make drawings`. Graphviz comes from npm, as WebAssembly, so that every machine draws the same.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, target] = process.argv.slice(2);
const { instance } = await import(pathToFileURL(createRequire(modules).resolve("@viz-js/viz")));
const viz = await instance();
const here = new URL(".", import.meta.url).pathname;
for (const name of readdirSync(here).filter((file) => file.endsWith(".dot")).sort()) {
  const svg = viz.renderString(readFileSync(here + name, "utf8"), { format: "svg" });
  writeFileSync(`${target ?? here}/${name.replace(/\.dot$/, ".svg")}`, svg);
}
