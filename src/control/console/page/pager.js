// Which part of a long list is shown, and the way to the others.
import { button, el, put } from "./dom.js";
import { count } from "./format.js";

/// `turned()` is called when another part is wanted.
export function pager(size, what, turned) {
  let offset = 0;
  let total = 0;
  const text = el("span", { "aria-live": "polite" });
  const turn = (to) => {
    offset = to;
    turned();
  };
  const earlier = button("Previous", () => turn(Math.max(0, offset - size)));
  const later = button("Next", () => turn(offset + size));
  const element = el("div", { class: "pager", hidden: true }, text, earlier, later);
  return {
    element,
    limit: size,
    get offset() { return offset; },
    first() { offset = 0; },
    /// What there is now, of which `shown` are on the page. False if this part is behind the end, and
    /// was turned back.
    show(all, shown) {
      total = all;
      if (shown === 0 && offset > 0) {
        turn(total === 0 ? 0 : Math.floor((total - 1) / size) * size);
        return false;
      }
      const many = total > size;
      put(text, many ? `${count(offset + 1)}–${count(offset + shown)} of ${count(total)} ${what}` : "");
      element.hidden = !many;
      const focused = document.activeElement;
      earlier.disabled = offset === 0;
      later.disabled = offset + shown >= total;
      // What is disabled loses the focus.
      if (focused === later && later.disabled) earlier.focus();
      if (focused === earlier && earlier.disabled) later.focus();
      return true;
    },
  };
}
