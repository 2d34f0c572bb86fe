import type { AboutStudy } from "./about";
import { h } from "./dom";
import { startRecord } from "./record";
import { startReview } from "./review";

async function start(): Promise<void> {
  const app = document.getElementById("app")!;
  const answer = await fetch("/api/about");
  if (!answer.ok) {
    app.append(h("main.centre", {}, h("h1", {}, "This address has expired"),
      h("p", {}, "Open the address that gazeseg printed when it started.")));
    return;
  }
  const about = (await answer.json()) as AboutStudy;
  document.title = `gazeseg · ${about.data}`;
  if (about.mode === "review") await startReview(app, about);
  else startRecord(app, about);
}

void start();
