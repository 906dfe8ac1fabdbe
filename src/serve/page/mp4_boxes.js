// As much of fragmented MP4 (ISO 14496-12) as a page needs that feeds it on: whole boxes, and the names of
// its codecs (RFC 6381).

const text4 = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (byte) => byte.toString(16).padStart(2, "0");
const two = (number) => String(number).padStart(2, "0");

/// No box that we make is near that.
const BOX_BYTES_MAX = 64 * 1024 * 1024;

/// Bytes as they come in; whole boxes out.
export class Boxes {
  #rest = new Uint8Array();

  /// The boxes, as { type, bytes }, that are whole by now. Throws at what is no MP4.
  *push(bytes) {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    let at = 0;
    while (all.length - at >= 8) {
      const size = viewOf(all).getUint32(at);
      if (size < 8 || size > BOX_BYTES_MAX) throw new Error(`a box of ${size} bytes`);
      if (all.length - at < size) break;
      yield { type: text4(all, at + 4), bytes: all.subarray(at, at + size) };
      at += size;
    }
    this.#rest = all.subarray(at);
  }
}

/// The boxes within `bytes`.
function* within(bytes) {
  for (let at = 0; at + 8 <= bytes.length;) {
    const size = viewOf(bytes).getUint32(at);
    if (size < 8 || at + size > bytes.length) return;
    yield { type: text4(bytes, at + 4), body: bytes.subarray(at + 8, at + size) };
    at += size;
  }
}

/// The body of the box at `path` below `bytes`, if there is one.
function find(bytes, ...path) {
  for (const { type, body } of within(bytes)) {
    if (type === path[0]) return path.length > 1 ? find(body, ...path.slice(1)) : body;
  }
  return null;
}

/// What stands before the boxes of a sample entry: of its name, what it says of all pictures and of all sound.
const PICTURES = 78;
const SOUND = 28;

/// The codecs of a whole `moov` box, as MediaSource names them.
export function codecsOf(moov) {
  const named = [];
  for (const { type, body } of within(moov.subarray(8))) {
    const table = type === "trak" && find(body, "mdia", "minf", "stbl", "stsd");
    if (!table) continue;
    for (const entry of within(table.subarray(8))) named.push(codecOf(entry.type, entry.body));
  }
  return named;
}

function codecOf(entry, body) {
  const setup = (name, before) => find(body.subarray(before), name) ?? new Uint8Array(32);
  switch (entry) {
    case "avc1": case "avc3": return entry + "." + [...setup("avcC", PICTURES).subarray(1, 4)].map(hex).join("");
    case "hvc1": case "hev1": return entry + "." + h265(setup("hvcC", PICTURES));
    case "av01": return entry + "." + av1(setup("av1C", PICTURES));
    case "vp09": return entry + "." + vp9(setup("vpcC", PICTURES));
    case "mp4a": return entry + ".40." + aacType(setup("esds", SOUND));
    case ".mp3": return "mp3";
    case "Opus": return "opus";
    case "fLaC": return "flac";
    default: return entry;
  }
}

/// ISO 14496-15, annex E.
function h265(setup) {
  const [, first] = setup;
  const space = ["", "A", "B", "C"][first >> 6];
  let compatible = 0;
  for (let bit = 0; bit < 32; bit++) compatible |= ((setup[2 + (bit >> 3)] >> (7 - (bit & 7))) & 1) << bit;
  const constraints = [...setup.subarray(6, 12)];
  while (constraints.at(-1) === 0) constraints.pop();
  const level = (first & 0x20 ? "H" : "L") + setup[12];
  return [space + (first & 0x1f), (compatible >>> 0).toString(16), level, ...constraints.map((byte) => byte.toString(16))].join(".");
}

/// AV1 in ISO base media file format, 5.
function av1(setup) {
  const [, first, second] = setup;
  const depth = second & 0x40 ? (second & 0x20 ? 12 : 10) : 8;
  return `${first >> 5}.${two(first & 0x1f)}${second & 0x80 ? "H" : "M"}.${two(depth)}`;
}

/// VP codec in ISO base media file format, behind version and flags.
const vp9 = (setup) => [setup[4], setup[5], setup[6] >> 4].map(two).join(".");

/// The object type of the AudioSpecificConfig (ISO 14496-3) in the descriptors of an `esds` box (ISO 14496-1, 7.2.6).
function aacType(setup) {
  let at = 4;
  while (at < setup.length) {
    const tag = setup[at++];
    while (setup[at++] & 0x80);
    if (tag === 3) at += 3;
    else if (tag === 4) at += 13;
    else if (tag === 5) return setup[at] >> 3 === 31 ? 32 + ((setup[at] & 7) << 3 | setup[at + 1] >> 5) : setup[at] >> 3;
    else break;
  }
  return 2;
}
