// Acknowledgements in both directions.
import assert from "node:assert/strict";
import { testEach } from "./harness.js";

testEach("the server acknowledges an event of the page", "acknowledgements", async (site) => {
  const [a, b] = [await site.connected(), await site.connected()];
  await a.fill("#a", "2");
  await a.fill("#b", "40.5");
  await a.press("#b", "Enter");
  await a.sees("#sum", "The server says 42.5");
  await b.sees("#sum", "What is the sum?");
  await b.click("#add button");
  await b.sees("#sum", "The server says 42");
});

testEach("the page acknowledges an event of the server", "acknowledgements", async (site) => {
  const [a, b] = [await site.connected(), await site.connected()];
  for (const window of [a, b]) {
    await window.click("#ask");
    await window.sees("#question label", "Which fish is the best?");
    await window.sees("#heard", "The server waits for your answer.");
  }
  // While the server waits, it still answers other pages and the same one.
  await a.click("#add button");
  await a.sees("#sum", "The server says 42");
  await b.fill("#answer", "<b>cod</b>");
  await b.press("#answer", "Enter");
  await b.sees("#heard", "You said “<b>cod</b>”");
  await site.line(/: "You said “<b>cod<\/b>”"$/);
  await a.fill("#answer", "sockeye");
  await a.click("#question button");
  await a.sees("#heard", "You said “sockeye”");
  await a.seesAll("#question", []);
});

testEach("a question can be asked again after the server was lost", "acknowledgements", async (site) => {
  const window = await site.connected();
  await window.click("#ask");
  await window.sees("#question label", "Which fish is the best?");
  await site.vanish();
  await window.sees("#heard", "No answer: socket has been disconnected");
  await window.seesAll("#question", []);
  // Nothing can be asked while there is nobody to answer.
  for (const button of ["#add button", "#ask"]) assert.ok(await window.page.isDisabled(button));
  await site.comeBack();
  await window.click("#ask");
  await window.fill("#answer", "herring");
  await window.press("#answer", "Enter");
  await window.sees("#heard", "You said “herring”");
});
