// The page of the chat. The server knows the last lines of each room; this page also keeps the lines that it has seen
// and those that it could not send yet.
import { connect } from "/page/status.js";
import { add, coloured, element, newId, showLinks, shown } from "/page/talk.js";

const $ = (id) => document.getElementById(id);

/** The number of lines of a room that the page keeps. */
const KEPT = 500;
/** Milliseconds without a key after which a user counts as no longer typing. */
const PAUSE = 3000;

// What the server is told whenever the page connects. A reload keeps it, and another window has its own.
const me = {
  name: sessionStorage.getItem("name") ?? "",
  key: sessionStorage.getItem("key") ?? newId(),
  room: location.hash.slice(1), // the requested room
};
sessionStorage.setItem("key", me.key);

let room = ""; // the room that the server has moved this page to
const seen = new Map(); // for each room, its lines by id
const outbox = new Map(); // lines that are not acknowledged yet, by id
const here = new Map(); // the users in the room, by socket id
const typists = new Set(); // socket ids of the users who are typing
let self = {}; // the user of this page, as the server names it
let doubles = new Set(); // names that several users have
let unread = 0;

const socket = await connect({ autoConnect: false, auth: (send) => send(me) });

// Joining.

$("hello").onsubmit = (event) => {
  event.preventDefault();
  if ($("name").readOnly) return; // the server has not answered the previous name yet
  $("refused").textContent = "";
  me.name = $("name").value;
  join();
};

function join() {
  $("name").readOnly = true;
  socket.connect();
}

$("name").value = me.name;
if (me.name) join();
else ask();

// Hidden until then, because nothing takes what is typed before.
function ask() {
  $("hello").hidden = false;
  $("name").readOnly = false;
  $("name").focus();
}

$("leave").onclick = () => {
  sessionStorage.removeItem("name");
  location.reload();
};

socket.on("connect", () => {
  sessionStorage.setItem("name", me.name);
  $("name").readOnly = false;
  $("hello").hidden = true;
  $("chat").hidden = $("leave").hidden = false;
});

socket.on("connect_error", () => {
  if (socket.active) return; // the client reconnects by itself
  $("chat").hidden = $("leave").hidden = true;
  ask();
});

// Rooms. Each is a link, so that the browser's back button returns to the previous room.

socket.on("rooms", (rooms) => {
  showLinks($("rooms"), rooms.map((room) => Object.assign(element("a", room), { href: `#${room}` })));
});

onhashchange = () => {
  me.room = location.hash.slice(1);
  // Without a connection, the room is sent with the next one.
  if (socket.connected) socket.emit("enter", me.room);
  showTyping();
};

socket.on("room", (entered, lines) => {
  const moved = entered !== room;
  me.room = room = entered;
  if (location.hash.slice(1) !== room) history.replaceState(null, "", `#${room}`);
  for (const link of $("rooms").querySelectorAll("a")) {
    link.setAttribute("aria-current", link.hash === `#${room}` ? "page" : "false");
  }
  lines.forEach(keep);
  typists.clear();
  typing = false;
  showLog();
  showTitle();
  if (moved) $("text").focus();
});

socket.on("here", (people) => {
  here.clear();
  for (const [id, user] of people) here.set(id, user);
  const before = self.id;
  self = here.get(socket.id) ?? self;
  if (self.id !== before) showLog();
  tellApart();
  showHere();
  showTyping();
});

function showHere() {
  $("people-title").textContent = socket.connected ? "Here" : "Last seen here";
  $("here").replaceChildren(...[...here].map(([id, user]) => {
    const name = id === socket.id ? `${called(user)} (you)` : called(user);
    return coloured(element("li", element("bdi", name)), called(user));
  }));
}

/** Returns the name of a user, with the start of the id if others have the same name. */
function called({ name, id }) {
  return doubles.has(name) ? `${name} #${id.slice(0, 3)}` : name;
}

/** Finds the names that several users have, among those who are here and the authors of the lines. */
function tellApart() {
  const users = [...here.values(), ...[...linesOf(room).values()].map((line) => line.by)];
  const ids = new Map(users.map(({ name, id }) => [name, id]));
  const found = new Set(users.filter(({ name, id }) => ids.get(name) !== id).map(({ name }) => name));
  if ([...found].join() === [...doubles].join()) return;
  doubles = found;
  showHere();
  showLog();
}

// Lines.

$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("say").reset();
  setTyping(false);
  if (text) send({ id: newId(), room, by: self, text });
};

async function send(line) {
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
  add($("log"), lineOf(line), KEPT);
  tellApart();
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

function lineOf({ by, text, at }) {
  const item = shown({ name: called(by), user: by.id, text, at });
  item.classList.toggle("mine", by.id === self.id);
  return item;
}

function showLog() {
  $("log").replaceChildren();
  for (const line of linesOf(room).values()) add($("log"), lineOf(line), KEPT);
  showOutbox();
}

function showOutbox() {
  $("outbox").replaceChildren();
  for (const line of outbox.values()) if (line.room === room) add($("outbox"), lineOf(line), KEPT);
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

socket.on("typing", (id, now) => {
  if (now) typists.add(id);
  else typists.delete(id);
  showTyping();
});

socket.on("disconnect", () => {
  typing = false;
  typists.clear();
  showTyping();
  showHere();
});

function showTyping() {
  // A user who has left is not typing, even if the page never sent the end of it.
  const names = [...here].filter(([id]) => typists.has(id)).map(([, user]) => called(user));
  const who = new Intl.ListFormat("en").format(names.slice(0, 3));
  let text = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
  if (names.length > 3) text = "Several people are typing…";
  if (!socket.connected && me.room !== room) text = "The server moves you to that room when it is back.";
  $("typing").textContent = text;
}
