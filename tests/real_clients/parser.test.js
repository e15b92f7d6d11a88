// Compares our packet codec with the reference's: each reads what the other writes, and a damaged packet either means
// the same to both or is refused by ours.
//
// `SEED=7 COUNT=100000 node --test parser.test.js` runs another and larger corpus.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { Decoder, Encoder, PacketType } from "socket.io-parser";
import { test } from "./program.js";

const root = path.resolve(import.meta.dirname, "../..");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
const program = path.join(target, "debug/examples/parser_peer");

const COUNT = Number(process.env.COUNT ?? 3000);

/** The state of a random number generator (mulberry32), which yields the same numbers for the same seed. */
let state = Number(process.env.SEED ?? 1);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const below = (n) => Math.floor(random() * n);
const pick = (all) => all[below(all.length)];
const list = (most, make) => Array.from({ length: below(most + 1) }, make);

const ODD = [
  "", "a", "hello", "-", ",", "/", "51-", '2/a,1["x"]', "\u001e", "4\u001ebAA==", "__proto__", "constructor", "toString",
  "🦈", "é\u{10ffff}", "\ud83d", "\udc00x", "\u0000\u007f\u2028\ufeff", '\\"', "_placeholder", '{"_placeholder":true,"num":0}',
];

function value(depth = 3) {
  const kinds = depth > 0 ? 9 : 6;
  switch (below(kinds)) {
    case 0: return pick(ODD);
    case 1: return pick([0, -1, 1.5, 1e21, 2 ** 53, -0.001, 123456789]);
    case 2: return pick([true, false, null]);
    case 3: return pick(ODD) + pick(ODD);
    case 4: return bytes();
    case 5: return below(1000);
    case 6: return list(4, () => value(depth - 1));
    case 7: return Object.fromEntries(list(4, () => [pick(ODD), value(depth - 1)]));
    default: return pick([[], {}, [[]], { _placeholder: true, num: 0 }, { _placeholder: false, num: 9 }]);
  }
}

function bytes() {
  return Buffer.from(list(6, () => below(256)));
}

function packet() {
  const nsp = pick(["/", "/", "/admin", "/é", "/__proto__", "/a/b-1"]);
  const id = pick([undefined, 0, 1, 10, 2 ** 53 - 1]);
  switch (below(8)) {
    case 0: return { type: PacketType.CONNECT, nsp, data: pick([undefined, {}, { token: pick(ODD) }]) };
    case 1: return { type: PacketType.DISCONNECT, nsp };
    case 2: return { type: PacketType.ACK, nsp, id: id ?? 7, data: list(3, value) };
    default: return { type: PacketType.EVENT, nsp, id, data: [pick(["a", "é", "1", 7, ...ODD]), ...list(3, value)] };
  }
}

const hex = (data) => Buffer.from(data).toString("hex");

/** Runs our codec on the requests, and returns an answer for each. */
function ours(requests) {
  const input = requests.map((request) => JSON.stringify(request)).join("\n");
  const output = execFileSync(program, { input, maxBuffer: 1 << 30, encoding: "utf8" });
  return output.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Decodes with the reference, and returns a packet or an error. */
function theirs(text, attachments) {
  const decoder = new Decoder();
  let packet;
  decoder.on("decoded", (decoded) => (packet = decoded));
  try {
    decoder.add(text);
    for (const attachment of attachments) decoder.add(attachment);
  } catch (error) {
    return { error: error.message };
  } finally {
    decoder.destroy();
  }
  return packet ?? { error: "attachments are missing" };
}

/** Converts an answer of ours to the reference's form. */
function asTheirs({ kind, nsp, query, id, data, args, event, attachments }) {
  const packet = { type: PacketType[{ BinaryEvent: "EVENT", BinaryAck: "ACK", ConnectError: "CONNECT_ERROR" }[kind] ?? kind.toUpperCase()] };
  packet.nsp = query ? `${nsp}?${query}` : nsp;
  if (id !== null) packet.id = id;
  if (args !== null) {
    const whole = JSON.parse(data);
    // The separate arguments and the name agree with the whole list, except that the name has no lone surrogates.
    assert.deepEqual(args.map((arg) => JSON.parse(arg)), event === null ? whole : whole.slice(1));
    if (typeof whole[0] === "number" && event !== null) assert.equal(Number(event), whole[0]);
    else if (event !== null) assert.equal(event, whole[0].toWellFormed());
    packet.data = attachments.length ? whole.map((item) => withBytes(item, attachments)) : whole;
  } else if (data !== "") {
    packet.data = JSON.parse(data);
  }
  return packet;
}

function withBytes(item, attachments) {
  if (Array.isArray(item)) return item.map((inner) => withBytes(inner, attachments));
  if (item === null || typeof item !== "object") return item;
  if (item._placeholder === true) return Buffer.from(attachments[item.num], "hex");
  for (const key of Object.keys(item)) item[key] = withBytes(item[key], attachments);
  return item;
}

/** Returns the parts of a packet of the reference that ours has as well. */
function meaning({ type, nsp, id, data }) {
  // We drop an empty query.
  return { type, nsp: nsp.replace(/^([^?]*)\?$/, "$1"), ...(id !== undefined && { id }), ...(data !== undefined && { data }) };
}

const decode = ([text, ...attachments]) => ({ decode: { text: text.toWellFormed(), attachments: attachments.map(hex) } });

/** Encodes with the reference, on a copy, because it removes attachments from the packet in place. */
function encoded(packet) {
  const wires = new Encoder().encode(structuredClone(packet));
  return wires.map((wire) => (typeof wire === "string" ? wire : Buffer.from(wire)));
}

test("our decoder reads what the reference writes", () => {
  const wires = Array.from({ length: COUNT }, packet).map(encoded).filter((wires) => wires.length <= 11);
  const answers = ours(wires.map(decode));
  let read = 0;
  wires.forEach((wire, n) => {
    const [text, ...attachments] = [wire[0].toWellFormed(), ...wire.slice(1)];
    const reference = theirs(text, attachments);
    if (reference.error) return assert.ok(answers[n].error, `${text}: ${reference.error}`);
    assert.equal(answers[n].error, undefined, `${text}`);
    assert.deepEqual(asTheirs(answers[n]), meaning(reference), text);
    read += 1;
  });
  assert.ok(read > COUNT / 2);
});

test("the reference reads what our encoder writes", () => {
  const toOurs = (item) =>
    Buffer.isBuffer(item) ? { $bytes: hex(item) }
    : Array.isArray(item) ? item.map(toOurs)
    : item !== null && typeof item === "object" ? Object.fromEntries(Object.entries(item).map(([key, inner]) => [key.toWellFormed(), toOurs(inner)]))
    : typeof item === "string" ? item.toWellFormed()
    : item;
  const packets = Array.from({ length: COUNT }, packet).filter(({ data }) => !JSON.stringify(data ?? null).includes("_placeholder\":"));
  const requests = packets.map(({ type, nsp, id = null, data = [] }) => {
    if (type === PacketType.EVENT) {
      const [name, ...args] = data.map(toOurs);
      return { encode: { kind: "event", nsp, id, name: String(name), args } };
    }
    const kind = { [PacketType.ACK]: "ack", [PacketType.CONNECT]: "connect", [PacketType.DISCONNECT]: "disconnect" }[type];
    return { encode: { kind, nsp, id, name: null, args: kind === "connect" ? [data].flat().map(toOurs) : data.map(toOurs) } };
  });
  const answers = ours(requests);
  const back = (item) =>
    Array.isArray(item) ? item.map(back)
    : item !== null && typeof item === "object" ? (typeof item.$bytes === "string" ? Buffer.from(item.$bytes, "hex") : Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, back(inner)])))
    : item;
  packets.forEach(({ type, nsp, id }, n) => {
    const { text, attachments, error } = answers[n];
    assert.equal(error, undefined, JSON.stringify(requests[n]));
    if (attachments.length > 10) return;
    const reference = theirs(text, attachments.map((data) => Buffer.from(data, "hex")));
    assert.equal(reference.error, undefined, text);
    assert.deepEqual([reference.type, reference.nsp, reference.id], [type, nsp, id], text);
    const { kind, name, args } = requests[n].encode;
    const data = kind === "event" ? [name, ...args] : kind === "ack" ? args : args[0];
    assert.deepEqual(reference.data, back(data), text);
  });
});

/** Errors by which our decoder is deliberately stricter, each with a pattern of the packets that it concerns. */
const STRICTER = {
  "empty packet": /^$/,
  "unknown packet type": /^[\s\ufeff]/,
  "illegal acknowledgement id": /^[0-6]/,
  "illegal number of attachments": /^[56]/,
  "illegal attachments": /^[56]/,
  "invalid payload": /^[2356]/,
  // No payload of polling could carry an answer.
  "illegal namespace": /^[0-6](\d+-)?\/[^,?]*\u001e/,
  // Only packets in which the reference reads white space as a number or ignores it.
  "invalid json": /^[0-6](\d+-)?(\/[^,]*,)?\d*\s/,
};

test("our decoder refuses a damaged packet or reads it as the reference does", () => {
  const pieces = [..."0123456789-,/[]{}\":\\ \n+.eE?", "\u001e", "null", "true", "1.5", "\\u0000", '"_placeholder":true', '"num":1'];
  const wires = Array.from({ length: COUNT * 3 }, () => {
    let [text, ...attachments] = encoded(packet());
    for (let n = 0; n <= below(3); n++) {
      // Mostly in the head, which the reference parses by hand.
      const at = below(random() < 0.6 ? Math.min(text.length, 8) : text.length);
      text = text.slice(0, at) + (random() < 0.5 ? pick(pieces) : "") + text.slice(at + below(3));
    }
    return [text.toWellFormed(), ...attachments];
  });
  const answers = ours(wires.map(decode));
  const counts = { accepted: 0, refused: 0, stricter: 0 };
  wires.forEach(([text, ...attachments], n) => {
    const reference = theirs(text, attachments);
    const { error } = answers[n];
    if (error === undefined) {
      counts.accepted += 1;
      assert.equal(reference.error, undefined, `only we take ${JSON.stringify(text)}`);
      assert.deepEqual(asTheirs(answers[n]), meaning(reference), text);
    } else if (reference.error) {
      counts.refused += 1;
    } else {
      counts.stricter += 1;
      assert.match(text, STRICTER[error] ?? /^nothing$/, `${error}: only the reference takes ${JSON.stringify(text)}`);
    }
  });
  assert.ok(counts.accepted > COUNT / 10 && counts.refused > COUNT / 10, JSON.stringify(counts));
});
