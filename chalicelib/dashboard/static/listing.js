/** A list that keeps itself up to date, with "Show more" for what lies beyond its first page. */

import { get } from "./api.js";
import { show } from "./dom.js";
import { keepLooking } from "./live.js";
import { moreButton } from "./parts.js";
import { doing } from "./shell.js";

/**
 * `query()` gives the filters; `draw(rows, listing)` shows the rows (and tells whether something runs); `more` is where
 * the button goes; `before()` is awaited first, each time. What was loaded by the button stays as it was; the first page is looked at again and again.
 * Returns a function that starts anew, for when the filters change.
 */
export function keepListing(path, { query = () => ({}), limit = 20, more, draw, before = async () => {} }) {
  let older = [];
  let cursor = null;

  const look = async () => {
    await before();
    const asked = JSON.stringify(query());
    const first = await get(path, { ...query(), limit });
    if (asked !== JSON.stringify(query())) return true;
    const ids = new Set(first.data.map((row) => row.id));
    const rows = [...first.data, ...older.filter((row) => !ids.has(row.id))];
    const last = cursor ?? first;
    show(more, moreButton(last, (event) => doing(event.currentTarget, () => next(last.nextCursor))));
    return draw(rows, first);
  };

  async function next(from) {
    cursor = await get(path, { ...query(), limit, cursor: from });
    older = [...older, ...cursor.data];
    await again();
  }

  const again = keepLooking(look);
  return () => {
    older = [];
    cursor = null;
    return again();
  };
}
