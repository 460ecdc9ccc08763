// Figures answer to the pointer. A page is complete without this: each figure is there as SVG. The first time that a
// figure is entered or gets the focus, the libraries are loaded, and it is drawn anew from its specification.
"use strict";

window.benchFigures = (() => {
  const libraries = new URL("vega.js", document.currentScript.src).href;
  let loading = null;
  const latest = new WeakMap(); // element -> the specification that it was asked to show last
  let tip = null;

  function load() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = libraries;
      script.onload = () => resolve(window.vegaEmbed);
      script.onerror = () => reject(new Error(`${libraries} cannot be loaded`));
      document.head.append(script);
    });
    return loading;
  }

  // A list of what a mark tells. Everything is text: names in the data are untrusted.
  function tooltip(handler, event, item, value) {
    tip ??= document.body.appendChild(Object.assign(document.createElement("dl"), { className: "tooltip" }));
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    const told = typeof value === "object" ? Object.entries(value) : [["", value]];
    tip.replaceChildren(...told.filter(([, text]) => text !== "" && text !== "null").flatMap(([name, text]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = String(text);
      return [term, description];
    }));
    const { width, height } = tip.getBoundingClientRect();
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
    const top = event.clientY + 14 + height > innerHeight ? event.clientY - 14 - height : event.clientY + 14;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${Math.max(top, 8)}px`;
  }

  // Draws a specification in the place of what stands in an element `.drawing`, in a box of the same size. Of several
  // calls for one element the last one counts.
  async function show(drawing, specification) {
    latest.set(drawing, specification);
    const embed = await load();
    const place = document.createElement("div");
    // The page's policy forbids code made from text, so expressions are interpreted; and styles that are not in a file.
    // Vega warns of each layer without marks, such as intervals where no row has one: errors alone are of use.
    const { finalize } = await embed(place, specification, {
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, tooltip, logLevel: 1,
    });
    if (latest.get(drawing) !== specification) return finalize();
    const [before, now] = [drawing.querySelector("svg"), place.querySelector("svg")];
    // Fonts are measured otherwise here than in the static drawing: a few pixels, which must not move the page.
    if (before) for (const side of ["width", "height"]) now.setAttribute(side, before.getAttribute(side));
    drawing.replaceChildren(place);
  }

  function specification(figure) {
    return JSON.parse(figure.querySelector("script.specification").textContent);
  }

  function wake(event) {
    const figure = event.currentTarget;
    for (const kind of ["pointerenter", "focusin"]) figure.removeEventListener(kind, wake);
    const drawing = figure.querySelector(".drawing");
    // What cannot be shown leaves the static drawing where it is.
    if (!latest.has(drawing)) show(drawing, specification(figure)).catch((error) => console.warn(error));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure.figure")) {
      if (!figure.querySelector("script.specification")) continue;
      for (const kind of ["pointerenter", "focusin"]) figure.addEventListener(kind, wake);
    }
    addEventListener("scroll", () => { if (tip) tip.hidden = true; }, { passive: true, capture: true });
  });

  return { show, specification };
})();
