/** A list that keeps itself up to date, with "Show more" for what lies beyond its first page. */

import { get } from "./api.js";
import { show } from "./dom.js";
import { keepLooking } from "./live.js";
import { moreButton } from "./parts.js";
import { doing } from "./shell.js";

/**
 * `query()` gives the filters; `draw(rows, listing)` shows the rows (and tells whether something runs); `more` is where
 * the button goes; `before()` is awaited first, each time. The first page is looked at again and again; once the button
 * was used, what newer rows push out of it stays below it. Returns a function that starts anew, for when
 * the filters change.
 */
export function keepListing(path, { query = () => ({}), limit = 20, more, draw, before = async () => {} }) {
  let rows = [];
  let cursor = null;

  const look = async () => {
    await before();
    const asked = JSON.stringify(query());
    const first = await get(path, { ...query(), limit });
    if (asked !== JSON.stringify(query())) return true;
    const ids = new Set(first.data.map((row) => row.id));
    rows = cursor ? [...first.data, ...rows.filter((row) => !ids.has(row.id))] : first.data;
    const last = cursor ?? first;
    show(more, moreButton(last, (event) => doing(event.currentTarget, () => next(last.nextCursor))));
    return draw(rows, first);
  };

  async function next(from) {
    cursor = await get(path, { ...query(), limit, cursor: from });
    rows = [...rows, ...cursor.data];
    await again();
  }

  const again = keepLooking(look);
  return () => {
    rows = [];
    cursor = null;
    return again();
  };
}
