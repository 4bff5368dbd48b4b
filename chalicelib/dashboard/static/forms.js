/**
 * Forms that make something: sent once at a time, what is refused said beside them, and nothing made twice.
 *
 * Every form's method is `dialog`, which outside of a dialog does nothing: one that is sent before its script is there
 * would otherwise put what was typed, a PIN perhaps, into the address.
 */

import { isFlaw } from "./api.js";
import { show } from "./dom.js";
import { busily, reasons } from "./shell.js";

/**
 * `send(headers, value)` makes the call, with headers that let it be repeated: the same words sent again, because an
 * answer was lost, have one effect; changed words are another request. `value` is that of the button. What is raised
 * shows in the form's alert.
 */
export function sending(form, send) {
  const problem = form.querySelector("[role=alert]");
  let key = crypto.randomUUID();
  const renew = () => {
    key = crypto.randomUUID();
  };
  form.addEventListener("input", renew);
  form.addEventListener("reset", renew);
  form.onsubmit = async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      await busily(event.submitter, () => send({ "Idempotency-Key": key }, event.submitter.value));
    } catch (error) {
      show(problem, ...reasons(error));
      problem.hidden = false;
      if (isFlaw(error)) throw error;
    }
  };
}

/** A list's filters: they need no submitting. Each change is in the address, and `anew()` shows what it is about. */
export function filtering(form, anew) {
  form.onsubmit = (event) => event.preventDefault();
  form.onchange = () => {
    const search = new URLSearchParams(chosen(form)).toString();
    history.replaceState(null, "", search ? `?${search}` : location.pathname);
    anew();
  };
}

/** What a list is filtered by: the fields of the form that are not empty. */
export const chosen = (form) => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
