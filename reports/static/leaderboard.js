/* Sorts, filters and shows other numbers in the table of the front page. The page is complete without it: all it needs
   stands in the table and in the block of data beside it. */
"use strict";

(() => {
  const table = document.getElementById("leaderboard");
  if (!table) return;
  const known = JSON.parse(document.getElementById("known").textContent);
  const form = document.getElementById("controls");
  const headers = [...table.tHead.rows[0].cells];
  const idents = headers.map((header) => header.dataset.column);
  const firstList = idents.findIndex((ident) => ident.startsWith("dataset."));
  const lists = idents.filter((ident) => ident.startsWith("dataset.")).length;
  const rows = [...table.tBodies[0].rows].map((row, place) => ({
    row,
    place,
    facts: known.rows[place],
    text: row.cells[0].textContent.toLowerCase(),
  }));
  let sorted = { column: "", reversed: false };

  // --- numbers -------------------------------------------------------------------------------------------------------

  const squares = rows.flatMap(({ row, facts }) =>
    facts.cells.map((cell, place) => ({ cell, square: row.cells[firstList + place] })).filter(({ cell }) => cell),
  );
  for (const one of squares) {
    one.link = one.square.querySelector("a");
    one.ends = one.square.querySelector(".ends");
    one.paths = [...one.square.querySelectorAll("path")];
    one.shown = [one.link.textContent, one.ends.textContent, ...one.paths.map((path) => path.getAttribute("d"))];
  }
  const told = { number: document.getElementById("number"), scale: document.getElementById("scale") };
  const written = { number: told.number.textContent, scale: told.scale.textContent };

  /** Show a metric in the squares: the EER as it was written, any other from the data. */
  function show(place) {
    const metric = known.metrics[place];
    table.classList.toggle("other", metric.name !== "eer");
    if (metric.name === "eer") {
      for (const one of squares) fill(one, ...one.shown);
      told.number.textContent = written.number;
      told.scale.textContent = written.scale;
      return;
    }
    const all = squares.flatMap(({ cell }) => [cell.values[place], ...(cell.ends[place] ?? [])]);
    const values = all.filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const at = (value) => (high > low ? (100 * (value - low)) / (high - low) : 50).toFixed(1);
    const best = known.rows[0].cells.map((_, column) => {
      const own = rows.map(({ facts }) => facts.cells[column]?.values[place] ?? null).filter((value) => value !== null);
      return metric.lowest ? Math.min(...own) : Math.max(...own);
    });
    for (const one of squares) {
      const [value, ends] = [one.cell.values[place], one.cell.ends[place]];
      const column = one.square.cellIndex - firstList;
      fill(
        one,
        value === null ? "–" : value.toFixed(4),
        ends ? `${ends[0].toFixed(4)}–${ends[1].toFixed(4)}` : "",
        ends ? `M${at(ends[0])} 4H${at(ends[1])}` : "",
        value === null ? "" : `M${at(value)} 4h0`,
        value === null ? "" : `M${at(best[column])} 0v8`,
      );
    }
    told.number.textContent = metric.label;
    told.scale.textContent =
      `${metric.lowest ? "Lower" : "Higher"} is better. Bars: value and 95 % interval, on a linear scale from ` +
      `${low.toFixed(4)} to ${high.toFixed(4)}; the tick is the best. Ranks are by EER and not shown.`;
  }

  function fill(one, text, ends, ...paths) {
    one.link.textContent = text;
    one.ends.textContent = ends;
    one.paths.forEach((path, place) => path.setAttribute("d", paths[place] ?? ""));
  }

  // --- order ---------------------------------------------------------------------------------------------------------

  const metric = () => known.metrics.findIndex((one) => one.name === form.elements.metric.value);

  /** What a row is sorted by in a column; null stands last in either direction. */
  function value({ facts, row }, column) {
    const place = idents.indexOf(column);
    if (place >= firstList && place < firstList + lists) {
      const cell = facts.cells[place - firstList];
      return cell && counts(cell) ? cell.values[metric()] : null;
    }
    if (column === "detector") return row.cells[0].querySelector("a").textContent;
    if (place < firstList) return facts.means[place - 1] ?? null;
    return facts[column] || null;
  }

  /** Which direction a first click gives: the best or the newest on top, names from A to Z. */
  function descends(column) {
    return column === "speed" || column === "finished" || (isList(column) && !known.metrics[metric()].lowest);
  }

  const descending = () => descends(sorted.column) !== sorted.reversed;
  const isList = (column) => column.startsWith("dataset.");
  const counts = (cell) => !form.elements["held-out"].checked || cell.leakage === "held-out";

  function order() {
    const sign = descending() ? -1 : 1;
    const compared = rows.map((one) => ({ one, key: sorted.column ? value(one, sorted.column) : one.place }));
    compared.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.one.place - b.one.place;
      const less = typeof a.key === "string" ? a.key.localeCompare(b.key) : a.key - b.key;
      return sign * less || a.one.place - b.one.place;
    });
    table.tBodies[0].append(...compared.map(({ one }) => one.row));
    headers.forEach((header, place) => {
      const own = idents[place] === sorted.column;
      if (own) header.setAttribute("aria-sort", descending() ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
  }

  // --- filters -------------------------------------------------------------------------------------------------------

  const chosen = () => [...form.querySelectorAll("[name=show]")].filter((box) => box.checked).map((box) => box.value);

  function filter() {
    const { family, licence, find } = form.elements;
    const heldOut = form.elements["held-out"].checked;
    const visible = new Set(lists > 1 ? chosen() : idents);
    const hidden = idents.map((ident) => (isList(ident) ? !visible.has(ident) : ident === "overall" && heldOut));
    const words = find.value.toLowerCase().split(/\s+/);
    for (const { row, facts, text } of rows) {
      [...row.cells].forEach((cell, place) => (cell.hidden = hidden[place]));
      facts.cells.forEach((cell, place) =>
        row.cells[firstList + place].classList.toggle("aside", Boolean(cell) && !counts(cell)),
      );
      const licensed = !licence.value || facts.use === "commercial" || facts.use === licence.value;
      const counted = facts.cells.some((cell, place) => cell && counts(cell) && !hidden[firstList + place]);
      row.hidden =
        !(licensed && (!family.value || facts.family === family.value) && words.every((word) => text.includes(word))) ||
        (heldOut && !counted);
    }
    headers.forEach((header, place) => (header.hidden = hidden[place]));
  }

  // --- state ---------------------------------------------------------------------------------------------------------

  function update() {
    show(metric());
    filter();
    order();
    const count = rows.filter(({ row }) => !row.hidden).length;
    const ends = { detector: ["A", "Z"], finished: ["oldest", "newest"] }[sorted.column] ?? ["lowest", "highest"];
    const by = sorted.column && headers[idents.indexOf(sorted.column)].dataset.name;
    document.getElementById("shown").textContent =
      `${count} of ${rows.length} detectors` +
      (by ? `, sorted by ${by}, ${ends[Number(descending())]} first` : "") +
      (lists > 1 ? `, ${chosen().length} of ${lists} trial lists` : "");
  }

  function write() {
    const parameters = new URLSearchParams();
    for (const name of ["metric", "family", "licence", "find"]) {
      const { value } = form.elements[name];
      if (value && !(name === "metric" && metric() === 0)) parameters.set(name, value);
    }
    if (form.elements["held-out"].checked) parameters.set("held-out", "only");
    const shown = chosen();
    if (shown.length < lists && lists > 1) for (const ident of shown.length ? shown : [""]) parameters.append("show", ident);
    if (sorted.column) parameters.set("sort", sorted.column);
    if (sorted.reversed) parameters.set("order", "reverse");
    benchState.write(parameters);
  }

  /** Take over what the address says; what it cannot mean is passed over. */
  function read() {
    const parameters = benchState.read();
    for (const name of ["metric", "family", "licence"]) {
      const wanted = parameters.get(name);
      if ([...form.elements[name].options].some((option) => option.value === wanted)) form.elements[name].value = wanted;
    }
    form.elements.find.value = parameters.get("find") ?? "";
    form.elements["held-out"].checked = parameters.get("held-out") === "only";
    const shown = parameters.getAll("show").filter((ident) => ident === "" || idents.includes(ident));
    if (shown.length) for (const box of form.querySelectorAll("[name=show]")) box.checked = shown.includes(box.value);
    const column = parameters.get("sort");
    if (idents.includes(column)) sorted = { column, reversed: parameters.get("order") === "reverse" };
  }

  headers.forEach((header, place) => {
    const column = idents[place];
    header.dataset.name = header.firstChild.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.setAttribute("aria-label", `Sort by ${header.dataset.name}`);
    button.addEventListener("click", () => {
      sorted = { column, reversed: sorted.column === column && !sorted.reversed };
      update();
      write();
    });
    header.firstChild.after(button);
  });
  const changed = () => {
    update();
    write();
  };
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    sorted = { column: "", reversed: false };
    setTimeout(changed); // the form has its first values after this event
  });
  form.hidden = false;
  read();
  update();
})();
