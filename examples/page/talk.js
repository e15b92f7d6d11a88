// What the pages share on which people talk.

/** Milliseconds within which the lines of one author are shown as a group, with one name above them. */
const GROUP = 5 * 60 * 1000;

/** A web address, without the punctuation behind it. */
const ADDRESS = /(https?:\/\/[^\s<>"]*[^\s<>"'.,:;!?)\]}])/i;

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

/** Returns the parts of a text, in which web addresses are links. */
export function linked(text) {
  return text.split(ADDRESS).map((part, at) => {
    if (at % 2 === 0) return part;
    return Object.assign(element("a", part), { href: part, target: "_blank", rel: "noopener noreferrer" });
  });
}

/** Creates the element of a line: its author, its time in milliseconds since 1970 unless it is not sent yet, and its
 * text. `user` identifies the author if the name does not. */
export function shown({ name, user = name, text, at }) {
  const when = element("time", at ? new Date(at).toLocaleTimeString([], { timeStyle: "short" }) : "not sent yet");
  const by = element("div", coloured(element("b", name), name), when);
  by.className = "by";
  // Each text is written in its own direction.
  const item = element("li", by, Object.assign(element("div", ...linked(text)), { dir: "auto" }));
  Object.assign(item.dataset, { user, at: at ?? 0 });
  return item;
}

/** Appends a line to a list, which keeps the last `kept`. */
export function add(list, line, kept) {
  const last = list.lastElementChild?.dataset;
  line.classList.toggle("grouped", last?.user === line.dataset.user && line.dataset.at - last.at < GROUP);
  list.append(line);
  while (list.children.length > kept) list.firstElementChild.remove();
  list.firstElementChild.classList.remove("grouped");
}

/** Replaces the links in a list. The focus stays on its link. */
export function showLinks(list, links) {
  const focused = list.contains(document.activeElement) && document.activeElement.hash;
  list.replaceChildren(...links.map((link) => element("li", link)));
  links.find((link) => link.hash === focused)?.focus();
}

/** Returns an id for a line, which no other page chooses. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
