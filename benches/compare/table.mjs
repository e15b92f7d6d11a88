#!/usr/bin/env node
// Writes the table of the README from the newest result in benches/results that has all scenarios: one that was saved
// without --only. With --check, it only says whether the README has that table.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const root = new URL("../../", import.meta.url);
const results = new URL("benches/results/", root);
const readme = new URL("README.md", root);
const [begin, end] = ["<!-- figures: written by benches/compare/table.mjs -->", "<!-- end of figures -->"];

const titles = {
  floor: "floor",
  socketioxide: "socketioxide",
  "socketioxide-axum": "socketioxide in axum",
  node: "Node",
  bun: "Bun",
  "ours-smol": "ours on smol",
  "ours-mio": "ours on mio",
  "ours-axum": "ours in axum",
};

function newest() {
  const all = readdirSync(results)
    .filter((file) => file.endsWith(".json"))
    .map((file) => ({ name: file.slice(0, -5), ...JSON.parse(readFileSync(new URL(file, results))) }))
    .filter(({ about }) => !about.command.includes("--only"));
  if (all.length === 0) {
    throw new Error("benches/results has no result of all scenarios: run benches/compare/run --save NAME");
  }
  return all.reduce((a, b) => (a.about.date < b.about.date ? b : a));
}

// Two decimals say enough about a ratio, except about a very large one.
const number = (x) => (x >= 10 ? x.toFixed(1) : x < 0.01 ? "< 0.01" : x.toFixed(2));
const count = (x) => (x >= 10 ? x.toFixed(0) : String(Number(x.toFixed(2))));

function cell(row, other) {
  if (row.is_count) {
    const [ours, theirs] = [row.servers.ours, row.servers[other]];
    return ours && theirs ? `${count(ours.median)} : ${count(theirs.median)}` : "–";
  }
  const ratio = row.ratios[other];
  if (!ratio) {
    return "–";
  }
  const isWide = ratio.highest > 1.25 * ratio.lowest;
  return number(ratio.median) + (isWide ? ` (${number(ratio.lowest)}–${number(ratio.highest)})` : "");
}

function table({ name, about, rows }) {
  const others = about.servers.slice(1);
  const line = (cells) => `| ${cells.join(" | ")} |\n`;
  const { processor, cores, kernel } = about.machine;
  const counts = rows.some((row) => row.is_headline && row.is_count)
    ? "\n`a : b` are ours and theirs of a figure that does not depend on the machine."
    : "";
  return [
    line(["ours divided by", ...others.map((other) => titles[other] ?? other), "scenario"]),
    line(["---", ...others.map(() => "---"), "---"]),
    ...rows
      .filter((row) => row.is_headline)
      .map((row) => line([row.figure.replace(/, (KB|µs|ms|s)$/, ""), ...others.map((other) => cell(row, other)), `\`${row.scenario}\``])),
    `
Rows are CPU time of the server, unless they name memory, a percentile or a time. Cells are medians of the ratios of
${about.rounds} rounds, with their range in parentheses if it is wider than a quarter.${counts}
Measured on ${about.date.slice(0, 10)} at commit ${about.commit.slice(0, 9)}: ${processor}, ${cores} cores, ${kernel}. The
[whole result](benches/results/${name}.md) has the absolute figures, their ranges and the versions. To repeat it, on
Linux with Rust 1.94 and Node:

\`\`\`sh
${about.command}
\`\`\`

\`--only\` with the name of a scenario measures one row.
`,
  ].join("");
}

const text = readFileSync(readme, "utf8");
const [from, to] = [text.indexOf(begin), text.indexOf(end)];
if (from < 0 || to < from) {
  throw new Error(`README.md has no lines "${begin}" and "${end}", between which the table belongs`);
}
const wanted = `${text.slice(0, from)}${begin}\n\n${table(newest())}\n${text.slice(to)}`;
if (process.argv.includes("--check")) {
  if (text !== wanted) {
    console.error("README.md has other figures than the newest result: run benches/compare/table.mjs");
    process.exitCode = 1;
  }
} else {
  writeFileSync(readme, wanted);
}
