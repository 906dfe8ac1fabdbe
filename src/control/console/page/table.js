// Tables whose rows stay while what they tell of does: a change of order moves rows, a change of a
// figure sets a text, and what has the focus keeps it.
import { button, el, put } from "./dom.js";

/// `columns`: { name, label, number, narrow, sort, ascending, make(cell), show(cell, item) }. `show` may return
/// the cell's text instead of putting it. `narrow: false` columns are left out on a phone. Clicking
/// the head of a column with `sort` calls `sorted(sort, reverse)`; those that are not `ascending`
/// begin with the largest. On a phone each row of a `stacked` table is a small card.
export function table({ label, columns, keyOf, empty, sorted, stacked = false }) {
  // Cards are no table any more to a screen reader, unless it is told.
  const role = (name) => stacked && name;
  const body = el("tbody", { role: role("rowgroup") });
  const nothing = el("p", { class: "empty" }, "Loading");
  const heads = columns.map((column) => {
    const classes = cssClasses(column);
    if (!column.sort) return el("th", { scope: "col", class: classes, role: role("columnheader") }, hidden(column));
    const head = el("th", { scope: "col", class: classes, role: role("columnheader"), "aria-sort": "none" });
    head.append(button(column.label, () => {
      const again = order.sort === column.sort;
      order = { sort: column.sort, reverse: again && !order.reverse };
      mark();
      sorted(order.sort, order.reverse);
    }));
    return head;
  });
  const mark = () => columns.forEach((column, at) => {
    if (!column.sort) return;
    const now = order.sort === column.sort;
    const ascending = Boolean(column.ascending) !== order.reverse;
    heads[at].setAttribute("aria-sort", now ? (ascending ? "ascending" : "descending") : "none");
  });
  let order = { sort: null, reverse: false };
  let rows = new Map();
  const head = el("thead", { role: role("rowgroup") }, el("tr", { role: role("row") }, heads));
  // Neither rows nor that there are none, before it is known.
  const whole = el("table", { "aria-label": label, role: role("table"), hidden: true }, head, body);

  function row() {
    const cells = columns.map((column) => {
      const cell = el("td", { class: cssClasses(column), role: role("cell"), "data-label": column.label });
      column.make?.(cell);
      return cell;
    });
    return { element: el("tr", { role: role("row") }, cells), cells };
  }

  return {
    element: el("div", { class: stacked ? "table stacked" : "table" }, whole, nothing),
    /// What is said if there are none.
    empty(text) { empty = text; },
    /// Says what it is sorted by, before anyone has chosen.
    order(sort, reverse) {
      order = { sort, reverse };
      mark();
    },
    show(items) {
      const focused = body.contains(document.activeElement) ? document.activeElement : null;
      const at = focused ? [...body.children].indexOf(focused.closest("tr")) : -1;
      const now = new Map();
      let place = body.firstChild;
      for (const item of items) {
        // Two of one key have a row each, instead of one more each time.
        let key = keyOf(item);
        while (now.has(key)) key += "'";
        const it = rows.get(key) ?? row();
        rows.delete(key);
        now.set(key, it);
        it.item = item;
        columns.forEach((column, at) => {
          const text = column.show(it.cells[at], item, it);
          if (text !== undefined) put(it.cells[at], text);
        });
        if (it.element === place) place = place.nextSibling;
        else body.insertBefore(it.element, place);
      }
      for (const old of rows.values()) old.element.remove();
      rows = now;
      if (items.length === 0) put(nothing, empty);
      whole.hidden = items.length === 0;
      nothing.hidden = items.length > 0;
      if (!focused || document.activeElement === focused) return;
      // Its row is gone: what stands there now.
      const near = body.children[Math.min(at, items.length - 1)]?.querySelector("button:not([hidden]), a");
      (focused.isConnected ? focused : near)?.focus({ preventScroll: true });
    },
  };
}

function cssClasses(column) {
  const classes = [column.name, column.number ? "number" : "", column.narrow === false ? "wide" : ""];
  return classes.filter(Boolean).join(" ");
}

/// A head that only a screen reader needs.
const hidden = (column) => (column.bare ? el("span", { class: "unseen" }, column.label) : column.label);
