// Figures as people read them. All numbers are written in one way, wherever the browser is.

const grouped = new Intl.NumberFormat("en");

export const NONE = "–";

export const count = (number) => grouped.format(number);

/// Three digits that count: 1.24, 12.4, 124.
export function digits(number) {
  const decimals = number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return number.toFixed(decimals);
}

function scaled(number, base, units) {
  let step = 0;
  while (number >= base * 0.9995 && step < units.length - 1) {
    number /= base;
    step += 1;
  }
  return [step === 0 ? String(Math.round(number)) : digits(number), units[step]];
}

/// Number and unit of bits per second.
export const bitRate = (bits) => scaled(bits, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);

export const bits = (number) => bitRate(number).join(" ");

export const bytes = (number) => scaled(number, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]).join(" ");

export const percent = (number) => (number < 99.95 ? number.toFixed(1) : number.toFixed(0));

/// Milliseconds: 0.31, 12.4, 1240.
export const millis = (number) => (number < 0.005 ? "0" : digits(number));

/// A lag: 350 ms, 2.4 s.
export const lag = (ms) => (ms < 1000 ? ms + " ms" : (ms / 1000).toFixed(1) + " s");

const CODECS = {
  h264: "H.264", h265: "H.265", av1: "AV1", vp8: "VP8", vp9: "VP9", aac: "AAC", opus: "Opus", mp3: "MP3", ac3: "AC-3",
  eac3: "E-AC-3", flac: "FLAC",
};

export const codecName = (codec) => CODECS[codec] ?? codec;

/// A length of time, in the two largest units that it has.
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  return m > 0 ? `${m} min ${s} s` : `${s} s`;
}

/// How long a recording is, to the nearest second, and to a tenth if there are few.
export const length = (seconds) => (seconds < 9.95 ? seconds.toFixed(1) + " s" : span(Math.round(seconds)));

/// The time of the day, of seconds since 1970.
export const clock = (at) =>
  new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/// Day and time.
export const moment = (at) => {
  const date = new Date(at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}`;
};
