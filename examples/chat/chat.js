// The page of the chat. The server knows the last lines of each room; this page also keeps the lines that it has seen
// and those that it could not send yet.
import { connect } from "/page/status.js";
import { coloured, element, newId, shown } from "/page/talk.js";

const $ = (id) => document.getElementById(id);

/** The number of lines of a room that the page keeps. */
const KEPT = 500;
/** Milliseconds without a key after which a user counts as no longer typing. */
const PAUSE = 3000;

const me = { name: "", room: location.hash.slice(1) }; // the requested room
let room = ""; // the room that the server has moved this page to
const seen = new Map(); // for each room, its lines by id
const mine = new Set(); // ids of the lines that were written on this page
const outbox = new Map(); // lines that are not acknowledged yet, by id
const here = new Map(); // names of the users in the room, by socket id
const typists = new Set(); // socket ids of the users who are typing
let unread = 0;

// The client sends the name and the room whenever it connects.
const socket = await connect({ autoConnect: false, auth: (send) => send(me) });

// Joining.

$("name").value = sessionStorage.getItem("name") ?? "";
$("hello").onsubmit = (event) => {
  event.preventDefault();
  if ($("name").readOnly) return; // the server has not answered the previous name yet
  $("name").readOnly = true;
  $("refused").textContent = "";
  me.name = $("name").value;
  sessionStorage.setItem("name", me.name);
  socket.connect();
};

socket.on("connect", () => {
  const joining = $("chat").hidden;
  $("name").readOnly = false;
  $("hello").hidden = true;
  $("chat").hidden = false;
  if (joining) $("text").focus();
});

socket.on("connect_error", (error) => {
  if (socket.active) return; // the client reconnects by itself
  $("chat").hidden = true;
  $("hello").hidden = false;
  $("name").readOnly = false;
  $("refused").textContent = error.message;
  $("name").focus();
});

// Rooms. Each is a link, so that the browser's back button returns to the previous room.

socket.on("rooms", (rooms) => {
  $("rooms").replaceChildren(...rooms.map((room) => {
    const link = element("a", room);
    link.href = `#${room}`;
    return element("li", link);
  }));
});

onhashchange = () => {
  me.room = location.hash.slice(1);
  // Without a connection, the room is sent with the next one.
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
  $("log").replaceChildren(...[...linesOf(room).values()].map(lineOf));
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
      // Without a connection, this waits for the next one.
      await socket.emitWithAck("say", line.room, line.id, line.text);
      outbox.delete(line.id);
    } catch {
      // The connection was lost before the acknowledgement, so it is unknown whether the line arrived: send it again.
      // If it did arrive, the pages recognize it by its id.
    }
  }
  showOutbox();
}

socket.on("line", (line) => {
  if (!keep(line)) return;
  $("log").append(lineOf(line));
  while ($("log").children.length > KEPT) $("log").firstChild.remove();
  showOutbox();
  if (document.hidden) unread += 1;
  showTitle();
});

/** Stores a line, and returns whether it is new. */
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

function lineOf(line) {
  const item = shown(line);
  item.classList.toggle("mine", mine.has(line.id));
  return item;
}

function showOutbox() {
  const lines = [...outbox.values()].filter((line) => line.room === room);
  $("outbox").replaceChildren(...lines.map(lineOf));
}

// Unread lines are counted while the page is hidden.

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unread = 0;
  showTitle();
});

function showTitle() {
  $("title").textContent = room;
  document.title = `${unread ? `(${unread}) ` : ""}${room}`;
}

// Typing: sent when it begins and when it ends.

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
  // A user who has left is not typing, even if the page never sent the end of it.
  const names = [...here].filter(([id]) => typists.has(id)).map(([, name]) => name);
  const who = new Intl.ListFormat("en").format(names.slice(0, 3));
  if (names.length > 3) $("typing").textContent = "several people are typing…";
  else $("typing").textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}
