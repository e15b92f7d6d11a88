// The JavaScript in the guide can be parsed: as modules, in which every `await` is allowed.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const guide = new URL("../../../docs/guide/", import.meta.url);

for (const page of readdirSync(guide).filter((name) => name.endsWith(".md"))) {
  const blocks = readFileSync(new URL(page, guide), "utf8").matchAll(/^```js\n(.*?)^```/gms);
  [...blocks].forEach(([, code], index) => {
    test(`${page}, block ${index + 1}`, () => {
      const parsed = spawnSync(process.execPath, ["--input-type=module", "--check"], { input: code });
      assert.equal(parsed.status, 0, String(parsed.stderr));
    });
  });
}
