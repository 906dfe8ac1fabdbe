// Elements with text in them. Nothing here, or anywhere in the console, turns text into markup.

/// An element. Attributes whose value is null or false are left out; `onclick` and the like are
/// listeners. Children are elements and texts.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/// Sets a text that may be there already: what did not change costs no layout.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// A button that does something by itself.
export const button = (text, onclick, attributes = {}) =>
  el("button", { type: "button", onclick, ...attributes }, text);

/// A named part of a page. Its heading can have more on its line.
export function section(title, attributes, ...children) {
  const { beside = [], ...rest } = attributes;
  const heading = el("div", { class: "heading" }, el("h2", {}, title), beside);
  return el("section", { "aria-label": title, ...rest }, heading, children);
}
