// The page of the private messages. The server keeps them; this page knows only those from and to the user whose
// conversation it shows.
import { connect } from "/page/status.js";
import { add, coloured, element, newId, showLinks, shown } from "/page/talk.js";

const $ = (id) => document.getElementById(id);

/** The number of messages that the page shows. */
const KEPT = 500;

let me = "";
let other = ""; // the user whose conversation is shown
let users = new Map(); // the other users by name: whether they are online, and how many of their messages are unread
let seen = new Set(); // ids of the messages that are shown
const outbox = new Map(); // messages that are not acknowledged yet, by id

// With `retries`, the client sends its events one after the other, and again until each is acknowledged.
const socket = await connect({ retries: Infinity, ackTimeout: 10_000 });

// Logging in. The cookie of the session is sent with every connection, by every tab and after a reload.

$("hello").onsubmit = async (event) => {
  event.preventDefault();
  $("refused").textContent = "";
  const body = new URLSearchParams({ name: $("name").value });
  try {
    const response = await fetch("/login", { method: "POST", body });
    if (response.ok) location.reload();
    else $("refused").textContent = await response.text();
  } catch {
    $("refused").textContent = "The server does not answer: try again.";
  }
};

socket.on("connect_error", away); // not logged in
socket.on("disconnect", away); // logged out in another tab

function away() {
  showUsers();
  if (socket.active || !$("hello").hidden) return; // if it is active, the client reconnects by itself
  $("chat").hidden = true;
  $("hello").hidden = false;
  $("refused").textContent = "";
  $("name").focus();
}

// Users. Each is a link, so that the browser's back button returns to the previous conversation.

socket.on("users", (name, others) => {
  me = name;
  users = new Map(others.map((user) => [user.name, user]));
  $("me").textContent = me;
  $("hello").hidden = true;
  $("chat").hidden = false;
  open(true);
});

socket.on("user", (name, online) => {
  if (name !== me) users.set(name, { unread: 0, ...users.get(name), online });
  showUsers();
});

socket.on("logged out", (name) => {
  users.delete(name);
  open();
});

onhashchange = () => open();

/** Shows the conversation that the address names; the server sends its messages if it is a new one, or `anew`. */
function open(anew = false) {
  const before = other;
  const wanted = new URLSearchParams(location.hash.slice(1)).get("with");
  other = users.has(wanted) ? wanted : "";
  if (!other) history.replaceState(null, "", location.pathname);
  if (other !== before) showMessages([]);
  if (other && (anew || other !== before)) socket.emit("open", other);
  $("say").hidden = $("silence").hidden = !other;
  if (other !== before) $("text").focus();
  showUsers();
  showOutbox();
}

function showUsers() {
  const names = [...users.keys()].sort((a, b) => a.localeCompare(b));
  showLinks($("users"), names.map((name) => {
    const { online, unread } = users.get(name);
    const link = element("a", coloured(element("bdi", name), name));
    link.href = `#${new URLSearchParams({ with: name })}`;
    link.className = online ? "online" : "";
    link.title = online ? "online" : "away";
    link.setAttribute("aria-current", name === other ? "page" : "false");
    if (unread) {
      link.append(Object.assign(element("span", unread), { className: "unread", ariaLabel: `${unread} unread` }));
    }
    return link;
  }));
  if (!socket.connected) $("note").textContent = "";
  else if (!users.size) $("note").textContent = "Nobody else has logged in: open this page in a private window.";
  else if (!other) $("note").textContent = "Choose a user to talk to.";
  else $("note").textContent = users.get(other).online ? "" : `${other} is away, and gets your messages later.`;
  const unread = [...users.values()].reduce((sum, user) => sum + user.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ""}Private messages`;
}

// Messages.

socket.on("messages", (name, messages) => {
  if (name === other) showMessages(messages ?? []);
  read();
});

socket.on("private message", (message) => {
  outbox.delete(message.id);
  showOutbox();
  if (message.from === other || message.to === other) showMessage(message);
  if (users.has(message.from)) users.get(message.from).unread += 1;
  showUsers();
  read();
});

/** Tells the server that the user sees the messages. */
function read() {
  if (!document.hidden && users.get(other)?.unread) socket.emit("read", other);
}

document.addEventListener("visibilitychange", read);

socket.on("read", (reader, author) => {
  if (users.has(author)) users.get(author).unread = 0;
  if (reader === other) for (const mark of $("log").querySelectorAll(".mine .mark")) mark.hidden = false;
  showUsers();
});

function showMessages(messages) {
  seen = new Set();
  $("log").replaceChildren();
  messages.forEach(showMessage);
}

function showMessage(message) {
  if (seen.has(message.id)) return;
  seen.add(message.id);
  add($("log"), line(message), KEPT);
}

function line({ from, text, at, read }) {
  const item = shown({ name: from, text, at });
  item.classList.toggle("mine", from === me);
  const mark = Object.assign(element("span", "read"), { className: "mark", hidden: from !== me || !read });
  item.querySelector(".by").append(mark);
  return item;
}

$("say").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("say").reset();
  if (!text) return;
  const message = { id: newId(), from: me, to: other, text };
  outbox.set(message.id, message);
  showOutbox();
  await socket.emitWithAck("private message", message.to, message.id, message.text);
  outbox.delete(message.id);
  showOutbox();
};

function showOutbox() {
  $("outbox").replaceChildren();
  for (const message of outbox.values()) if (message.to === other) add($("outbox"), line(message), KEPT);
}
