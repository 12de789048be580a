// Run the programs of bundles, one a line on standard input: {"program", "environment"}; answer in JSON.
// Usage: run.mjs DIRECTORY. The programs' imports are found from there: it has the node_modules.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

let printed = [];
console.log = (...words) => printed.push(words.join(" "));
// A program ends with its own error. What its sockets report later would end the next one.
process.on("uncaughtException", () => {});

let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { program, environment } = JSON.parse(line);
  delete process.env.PGPASSWORD;
  Object.assign(process.env, environment);
  printed = [];
  const path = join(process.argv[2], `${number++}.mjs`);
  writeFileSync(path, program);
  const answer = await import(pathToFileURL(path)).then(
    () => ({ printed: printed.join("\n") }),
    (error) => ({ failed: String(error?.message || error) }),
  );
  process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);
