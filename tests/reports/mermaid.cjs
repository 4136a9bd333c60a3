// Parses diagrams (a file with a JSON list of texts) with Mermaid's own parser; says how many.
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!DOCTYPE html><body></body>");
globalThis.window = window;
globalThis.document = window.document;
const diagrams = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));
const { pathToFileURL } = require("url");
import(pathToFileURL(require.resolve("mermaid"))).then(async ({ default: mermaid }) => {
  for (const diagram of diagrams) await mermaid.parse(diagram);
  console.log(diagrams.length);
}).catch((error) => { console.error(error); process.exit(1); });
