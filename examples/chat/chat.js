// The page of the chat. The server knows the last lines of each room; this page also keeps what it has seen itself, and
// what it could not send yet.
import { connect } from "/page/status.js";

const $ = (id) => document.getElementById(id);

/** How many lines of a room the page keeps. */
const KEPT = 500;
/** After how long without a key somebody is not typing any more. */
const PAUSE = 3000;

const me = { name: "", room: location.hash.slice(1) }; // the room that is wanted
let room = ""; // the one that the server has let this page into
const seen = new Map(); // by room: its lines by id
const mine = new Set(); // ids of the lines that were written here
const outbox = new Map(); // lines by id that no answer has come for
const here = new Map(); // names by the socket's id
const typists = new Set(); // ids of sockets
let unread = 0;

// Whenever the client connects it says who this is, and where.
const socket = await connect({ autoConnect: false, auth: (send) => send(me) });

// Coming in.

$("name").value = sessionStorage.getItem("name") ?? "";
$("hello").onsubmit = (event) => {
  event.preventDefault();
  if ($("name").readOnly) return; // one name at a time: the answer to the last one is still to come
  $("name").readOnly = true;
  $("refused").textContent = "";
  me.name = $("name").value;
  sessionStorage.setItem("name", me.name);
  socket.connect();
};

socket.on("connect", () => {
  const coming = $("chat").hidden;
  $("name").readOnly = false;
  $("hello").hidden = true;
  $("chat").hidden = false;
  if (coming) $("text").focus();
});

socket.on("connect_error", (error) => {
  if (socket.active) return; // it tries again by itself
  $("chat").hidden = true;
  $("hello").hidden = false;
  $("name").readOnly = false;
  $("refused").textContent = error.message;
  $("name").focus();
});

// Rooms: each is a link, so that the history of the browser is one of rooms.

socket.on("rooms", (rooms) => {
  $("rooms").replaceChildren(...rooms.map((room) => {
    const link = element("a", room);
    link.href = `#${room}`;
    return element("li", link);
  }));
});

onhashchange = () => {
  me.room = location.hash.slice(1);
  // Else it is said with the next connection.
  if (socket.connected) socket.emit("enter", me.room);
};

socket.on("room", (entered, lines) => {
  me.room = room = entered;
  if (location.hash.slice(1) !== room) history.replaceState(null, "", `#${room}`);
  for (const link of $("rooms").querySelectorAll("a")) {
    link.setAttribute("aria-current", link.hash === `#${room}` ? "page" : "false");
  }
  lines.forEach(keep);
  typists.clear();
  typing = false;
  $("log").replaceChildren(...[...linesOf(room).values()].map(shown));
  showOutbox();
  showTitle();
});

socket.on("here", (people) => {
  here.clear();
  for (const [id, name] of people) here.set(id, name);
  $("here").replaceChildren(...people.map(([id, name]) => {
    return coloured(element("li", id === socket.id ? `${name} (you)` : name), name);
  }));
  showTyping();
});

// Lines.

$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("say").reset();
  setTyping(false);
  if (text) send({ id: newId(), room, name: me.name, text });
};

async function send(line) {
  mine.add(line.id);
  outbox.set(line.id, line);
  showOutbox();
  while (outbox.has(line.id)) {
    try {
      // Without a connection the client waits for the next one.
      await socket.emitWithAck("say", line.room, line.id, line.text);
      outbox.delete(line.id);
    } catch {
      // The connection broke before the answer, and nobody knows whether the line arrived: once more. Where it did, it
      // is known by its id.
    }
  }
  showOutbox();
}

socket.on("line", (line) => {
  if (!keep(line)) return;
  $("log").append(shown(line));
  while ($("log").children.length > KEPT) $("log").firstChild.remove();
  showOutbox();
  if (document.hidden) unread += 1;
  showTitle();
});

/** Whether the line is a new one. */
function keep(line) {
  const lines = linesOf(room);
  outbox.delete(line.id);
  if (lines.has(line.id)) return false;
  lines.set(line.id, line);
  if (lines.size > KEPT) lines.delete(lines.keys().next().value);
  return true;
}

function linesOf(name) {
  if (!seen.has(name)) seen.set(name, new Map());
  return seen.get(name);
}

function shown({ id, name, text, at }) {
  const when = element("time", at ? new Date(at).toLocaleTimeString([], { timeStyle: "short" }) : "not sent yet");
  const by = element("div", coloured(element("b", name), name), when);
  by.className = "by";
  const line = element("li", by, text);
  line.classList.toggle("mine", mine.has(id));
  return line;
}

function showOutbox() {
  const lines = [...outbox.values()].filter((line) => line.room === room);
  $("outbox").replaceChildren(...lines.map(shown));
}

// Unread lines are counted while nobody looks.

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unread = 0;
  showTitle();
});

function showTitle() {
  $("title").textContent = room;
  document.title = `${unread ? `(${unread}) ` : ""}${room}`;
}

// Who is typing: told when it begins and when it ends.

let typing = false;
let pause;

function setTyping(now) {
  clearTimeout(pause);
  if (now) pause = setTimeout(setTyping, PAUSE, false);
  if (now === typing || !socket.connected) return;
  typing = now;
  socket.emit("typing", typing);
}

$("text").oninput = () => setTyping($("text").value !== "");

socket.on("disconnect", () => (typing = false));

socket.on("typing", (id, now) => {
  if (now) typists.add(id);
  else typists.delete(id);
  showTyping();
});

function showTyping() {
  // Who has left is not, whatever was said last.
  const names = [...here].filter(([id]) => typists.has(id)).map(([, name]) => name);
  const who = new Intl.ListFormat("en").format(names.slice(0, 3));
  if (names.length > 3) $("typing").textContent = "many are typing…";
  else $("typing").textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

/** An element with this inside. Strings become text, never HTML: others have written them. */
function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** The same colour for the same name. */
function coloured(made, name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 0);
  made.style.setProperty("--hue", (hue * 137) % 360);
  return made;
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
