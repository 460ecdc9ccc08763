/* The state of a page in its address: as a query, and behind # where the browser forbids to change the query, as some
   do for pages from a file system. */
"use strict";

window.benchState = {
  /** The parameters that the page was opened with. */
  read() {
    return new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : location.search);
  },

  /** Show these parameters in the address, without an entry of the history. */
  write(parameters) {
    const text = parameters.toString();
    const anchor = location.hash.includes("=") ? "" : location.hash;
    try {
      history.replaceState(null, "", location.pathname + (text && `?${text}`) + anchor);
    } catch {
      history.replaceState(null, "", `#${text}`);
    }
  },
};
