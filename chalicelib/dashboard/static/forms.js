/**
 * Forms. A submitted form sends one request at a time, displays an error beside its fields, and creates nothing twice.
 *
 * Every form has the method `dialog`, which does nothing outside of a dialog. Otherwise a form that is submitted before its
 * script has loaded would put its fields, perhaps a PIN, into the address.
 */

import { runExclusive } from "./actions.js";
import { isBug } from "./api.js";
import { render } from "./dom.js";
import { describeError } from "./messages.js";

/**
 * Call `submit(headers, value)` when the form is submitted; `value` is that of the button. `headers` has an Idempotency-Key
 * that stays the same until a field changes, so that sending the same fields again after a lost response has one effect.
 * An error that `submit` throws is displayed in the form's alert.
 * @param {HTMLFormElement} form
 * @param {(headers: Record<string, string>, value: string) => Promise<void>} submit
 */
export function handleSubmit(form, submit) {
  const alert = form.querySelector("[role=alert]");
  let key = crypto.randomUUID();
  const renewKey = () => {
    key = crypto.randomUUID();
  };
  form.addEventListener("input", renewKey);
  form.addEventListener("reset", renewKey);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (!(button instanceof HTMLButtonElement) || !alert) return;
    alert.toggleAttribute("hidden", true);
    try {
      await runExclusive(button, () => submit({ "Idempotency-Key": key }, button.value));
    } catch (error) {
      render(alert, describeError(error));
      alert.toggleAttribute("hidden", false);
      if (isBug(error)) throw error;
    }
  };
}

/**
 * A form control of this name, as an input.
 * @param {HTMLFormElement} form
 * @param {string} name
 */
export const field = (form, name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));

/**
 * A form control of this name, as a select.
 * @param {HTMLFormElement} form
 * @param {string} name
 */
export const selectField = (form, name) => /** @type {HTMLSelectElement} */ (form.elements.namedItem(name));

/**
 * The fields of a form that are not empty, by name.
 * @param {HTMLFormElement} form
 * @returns {Record<string, string>}
 */
export const formValues = (form) =>
  Object.fromEntries([...new FormData(form)].flatMap(([name, value]) => (value ? [[name, String(value)]] : [])));

/**
 * Apply a list's filters as soon as one changes. They are also written into the page's address.
 * @param {HTMLFormElement} form
 * @param {() => unknown} apply
 */
export function bindFilters(form, apply) {
  form.onsubmit = (event) => event.preventDefault();
  form.onchange = () => {
    const search = new URLSearchParams(formValues(form)).toString();
    history.replaceState(null, "", search ? `?${search}` : location.pathname);
    apply();
  };
}
