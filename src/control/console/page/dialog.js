// Questions before something is done, and words about what was done.
import { button, el } from "./dom.js";

/// As long as the API takes a reason.
export const REASON_MAX = 200;

/// Asks, and tells what was filled in; null if it was called off. `fields`: { name, label, value,
/// choices }, where choices are [value, text].
export function ask({ title, text, fields = [], action, danger = false }) {
  const inputs = fields.map(({ name, label, value = "", choices, placeholder }) => {
    const id = "ask-" + name;
    const input = choices
      ? el("select", { id, name }, choices.map(([of, words]) => el("option", { value: of, selected: of === value }, words)))
      : el("input", { id, name, value, placeholder, maxlength: REASON_MAX, autocomplete: "off" });
    return { name, input, element: el("div", { class: "field" }, el("label", { for: id }, label), input) };
  });
  const dialog = el("dialog", { "aria-labelledby": "ask-title", "aria-describedby": "ask-text" });
  const form = el("form", { class: "ask" },
    el("h2", { id: "ask-title" }, title),
    el("p", { id: "ask-text" }, text),
    inputs.map((input) => input.element),
    el("div", { class: "actions" },
      button("Cancel", () => dialog.close()),
      el("button", { type: "submit", class: danger ? "danger" : "main" }, action)));
  dialog.append(form);
  document.body.append(dialog);
  return new Promise((answer) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer(Object.fromEntries(inputs.map(({ name, input }) => [name, input.value.trim()])));
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      answer(null);
      dialog.remove();
    });
    dialog.showModal();
  });
}

/// How long a notice stays.
const NOTICE_MS = 6000;

/// Says what happened, for a while.
export function tell(text, kind = "good") {
  const notice = el("p", { class: kind }, text);
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), NOTICE_MS);
}

/// Does it, and says how it went: `done`, or what `done` makes of the answer.
export async function attempt(work, done) {
  try {
    const answer = await work();
    tell(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (error) {
    tell(error.message, "bad");
    return false;
  }
}
