// Asks for the token.
import { canBeToken, get, hasToken, setToken } from "./api.js";
import { el, put } from "./dom.js";

/// `said` stands there from the start; `entered()` is called when the server took a token.
export function login(said, entered) {
  const input = el("input", {
    id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true,
    "aria-describedby": "login-said",
  });
  const error = el("p", { id: "login-said", class: "bad", role: "alert" }, said);
  const submit = el("button", { type: "submit" }, "Log in");
  const form = el("form", { class: "login card", onsubmit: enter },
    el("h1", {}, "Corecast console"),
    el("label", { for: "token" }, "Token"),
    input, error, submit,
    el("p", { class: "soft" }, "The value of admin.token, or what admin.token_file holds. It is kept until this page is closed or loaded again."));

  async function enter(event) {
    event.preventDefault();
    const token = input.value.trim();
    if (!canBeToken(token)) return refuse("A token has visible ASCII characters and no blanks.");
    submit.disabled = true;
    setToken(token);
    try {
      await get("info");
      entered();
    } catch (problem) {
      setToken("");
      refuse(problem.status === 401 ? "The server does not know this token." : problem.message);
    } finally {
      submit.disabled = false;
    }
  }

  function refuse(text) {
    put(error, "");
    put(error, text);
    input.setAttribute("aria-invalid", "true");
    input.select();
    input.focus();
  }

  return { element: form, title: "Log in", focus: () => input.focus(), poll: async () => {}, close() {} };
}

/// Whether the server lets this page in as it is: it wants no token, or has had it.
export async function isOpen() {
  try {
    await get("info");
    return true;
  } catch (problem) {
    if (problem.status === 401 && !hasToken()) return false;
    throw problem;
  }
}
