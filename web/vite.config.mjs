// One script, one style sheet, one page: built into the Python package, with the digest of the sources beside them.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { defineConfig } from "vite";

const root = import.meta.dirname;
const fixed = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.mjs"];

/** SHA-256 over name and content of every source, sorted by name: tests/record/test_build.py computes the same. */
function digest() {
  const names = [...fixed, ...readdirSync(join(root, "src")).map((name) => `src/${name}`)].sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(name).update("\0").update(readFileSync(join(root, name))).update("\0");
  return hash.digest("hex");
}

export default defineConfig({
  base: "/",
  build: {
    outDir: "../src/gazeseg/web/static",
    emptyOutDir: true,
    modulePreload: false,
    target: "es2022",
    rollupOptions: {
      output: { entryFileNames: "app.js", chunkFileNames: "[name].js", assetFileNames: "app[extname]" },
    },
  },
  plugins: [
    {
      name: "digest",
      generateBundle() {
        this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${digest()}\n` });
      },
    },
  ],
});
