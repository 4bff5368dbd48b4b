/** A list that keeps itself up to date, with "Show more" for what follows its first page. */

import { withBusy } from "./actions.js";
import { get } from "./api.js";
import { moreButton } from "./components.js";
import { render } from "./dom.js";
import { startPolling } from "./polling.js";

/**
 * Poll a list of the API. `query()` returns the filters; `renderRows(rows, page)` renders the rows and returns whether
 * something is running; `more` holds the button; `before()` runs before each refresh. Refreshes read the first page only:
 * rows that newer ones push out of it stay below it once the button was used. Returns a function that starts from the
 * first page again, for use when the filters change.
 * @template {{ id: string }} Row
 * @param {string} path
 * @param {{
 *   query?: () => Query,
 *   limit?: number,
 *   more: Element,
 *   renderRows: (rows: Row[], page: Api.Page<Row>) => boolean | Promise<boolean>,
 *   before?: () => Promise<void>,
 * }} options
 * @returns {() => Promise<void>}
 */
export function pollList(path, { query = () => ({}), limit = 20, more, renderRows, before = async () => {} }) {
  /** @type {Row[]} */
  let rows = [];
  /** @type {Api.Page<Row> | null} */
  let lastPage = null;

  const refresh = async () => {
    await before();
    const filters = JSON.stringify(query());
    /** @type {Api.Page<Row>} */
    const first = await get(path, { ...query(), limit });
    if (filters !== JSON.stringify(query())) return true;
    const ids = new Set(first.data.map((row) => row.id));
    rows = lastPage ? [...first.data, ...rows.filter((row) => !ids.has(row.id))] : first.data;
    const last = lastPage ?? first;
    render(more, moreButton(last, (event) => withBusy(event.currentTarget, () => loadMore(last.nextCursor))));
    return renderRows(rows, first);
  };

  /** @param {string | null} cursor */
  async function loadMore(cursor) {
    /** @type {Api.Page<Row>} */
    const next = await get(path, { ...query(), limit, cursor });
    lastPage = next;
    rows = [...rows, ...next.data];
    await refreshNow();
  }

  const refreshNow = startPolling(refresh);
  return () => {
    rows = [];
    lastPage = null;
    return refreshNow();
  };
}
