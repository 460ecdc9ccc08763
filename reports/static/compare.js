/* Any pair of detectors in place of the first. All that is told is in the page already, see `Comparisons.data` of
   bench/report/compare_page.py; this script chooses and shows. The pair is in the address: ?a=NAME&b=NAME. */
"use strict";

(() => {
  const block = document.getElementById("compare-data");
  const form = document.querySelector("form.pair");
  if (!block || !form) return;
  const data = JSON.parse(block.textContent);
  const names = data.detectors.map((detector) => detector[0]);
  const classes = ["a", "b"];
  const figure = document.getElementById("scatter");
  const chosen = () => classes.map((which) => Number(form.elements[which].value));
  let shown = chosen();
  let drawn = Promise.resolve();

  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const write = (selector, text) => each(selector, (element) => { element.textContent = text; });

  function detector(which, number) {
    const [name, title, eer, alone, page, cell] = data.detectors[number];
    write(`[data-name=${which}]`, name);
    write(`[data-detector=${which}]`, title);
    write(`[data-eer=${which}]`, eer);
    write(`[data-alone=${which}]`, alone);
    each(`[data-detector=${which}]`, (link) => { link.href = page; });
    each(`[data-cell=${which}]`, (link) => { link.href = cell; });
  }

  function difference(a, b) {
    const line = document.querySelector("[data-told=difference]");
    const verdict = document.querySelector("[data-told=verdict]");
    const [words, clear] = data.differences[a][b] || [line.dataset.refused, null];
    line.textContent = words;
    verdict.textContent = clear === null ? ""
      : clear ? `${names[Math.min(a, b)]} ${verdict.dataset.clear}` // the lowest EER comes first
      : verdict.dataset.unclear;
    return words;
  }

  function decisions(a, b) {
    data.decisions.forEach((found, label) => {
      each(`[data-class="${label}"] td`, (cell, place) => {
        cell.textContent = found[a][b][place].toLocaleString("en-GB");
      });
    });
  }

  function line(texts, numbers) {
    const found = document.createElement("tr");
    texts.forEach((text, place) => {
      const cell = found.appendChild(document.createElement(place ? "td" : "th"));
      if (!place) cell.scope = "row";
      if (place >= numbers) cell.className = "number";
      cell.textContent = text;
    });
    return found;
  }

  /** The trials that one is right about. Columns are those of the first detector, then those of the second. */
  function disagreements(which, right, wrong) {
    const both = (mine, others) => (which === "a" ? [mine, others] : [others, mine]);
    const lines = data.disagreements[right][wrong].map(([trial, mine, others, here, there]) => {
      const [id, ...texts] = data.trials[trial];
      const shares = both(here, there).map((share) => share.toFixed(1));
      return line([id, ...texts.map((number) => data.texts[number] || "–"), ...both(mine, others), ...shares], 4);
    });
    const body = document.querySelector(`[data-trials=${which}]`);
    body.replaceChildren(...lines);
    if (!lines.length) body.insertRow().insertCell().textContent = "No such trial.";
  }

  /** The axis titles of a specification, wherever a field of this name is used. */
  function rename(node, titles) {
    if (node === null || typeof node !== "object") return;
    if (node.field in titles) node.title = titles[node.field];
    Object.values(node).forEach((inner) => rename(inner, titles));
  }

  function scatter(a, b) {
    const script = figure.querySelector("script.specification");
    const specification = JSON.parse(script.textContent);
    rename(specification, { x: `score of ${names[a]}`, y: `score of ${names[b]}` });
    specification.datasets.points.forEach((point, place) => {
      [point.x, point.y] = [data.sample[a][place], data.sample[b][place]];
    });
    script.textContent = JSON.stringify(specification); // what figures.js draws when the pointer comes
    const drawing = figure.querySelector(".drawing");
    drawing.setAttribute("aria-label", `Points, score of ${names[a]} against score of ${names[b]}, by class.`);
    drawn = drawn.then(() => window.benchFigures.show(drawing, specification)).catch((error) => {
      console.warn(error);
      drawing.textContent = "The scores of this pair could not be drawn.";
    });
  }

  function show(a, b) {
    shown = [a, b];
    classes.forEach((which, place) => {
      form.elements[which].value = shown[place];
      detector(which, shown[place]);
    });
    const words = difference(a, b);
    decisions(a, b);
    disagreements("a", a, b);
    disagreements("b", b, a);
    scatter(a, b);
    write("#change", `${names[a]} against ${names[b]}: ${words}`);
  }

  /** A pair that the reader chose; the other detector makes room for one that is chosen twice. */
  function choose(a, b) {
    const [before, after] = shown;
    const pair = a !== b ? [a, b] : a === before ? [after, b] : [a, before];
    show(...pair);
    const state = window.benchState.read();
    classes.forEach((which, place) => state.set(which, names[pair[place]]));
    window.benchState.write(state);
  }

  form.addEventListener("change", () => choose(...chosen()));
  form.elements.swap.addEventListener("click", () => choose(...chosen().reverse()));
  form.hidden = false;

  const asked = classes.map((which) => names.indexOf(window.benchState.read().get(which)));
  const [a, b] = asked;
  if (a >= 0 && b >= 0 && a !== b && (a !== shown[0] || b !== shown[1])) show(a, b);
})();
