// What the pages share on which people talk.

/** Creates an element with these children. Strings become text, never HTML: other users wrote them. */
export function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** Gives an element the colour of a user's name. */
export function coloured(made, name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 0);
  made.classList.add("user");
  made.style.setProperty("--hue", (hue * 137) % 360);
  return made;
}

/** Creates the element of a line: its author, its time in milliseconds since 1970 unless it is not sent yet, and its text. */
export function shown({ name, text, at }) {
  const when = element("time", at ? new Date(at).toLocaleTimeString([], { timeStyle: "short" }) : "not sent yet");
  const by = element("div", coloured(element("b", name), name), when);
  by.className = "by";
  return element("li", by, text);
}

/** Returns an id for a line, which no other page chooses. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
