// What a page must keep to, checked in the page: it returns one sentence for each breach.
(() => {
  const found = [];
  const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !e.closest(".hidden, .skip, svg");
  const name = (e) => `<${e.tagName.toLowerCase()}${e.id ? " #" + e.id : ""}${e.className && e.className.baseVal === undefined ? " ." + e.className : ""}> "${(e.textContent || "").trim().slice(0, 40)}"`;

  // Structure.
  if (document.querySelectorAll("h1").length !== 1) found.push(`${document.querySelectorAll("h1").length} h1`);
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title) found.push("no title");
  if (document.querySelector("[style]:not(.hidden)")) found.push("an inline style");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) found.push(`id ${id} occurs twice`);
  for (const e of document.querySelectorAll("[aria-describedby], [aria-labelledby], label[for]")) {
    const refs = e.getAttribute("aria-describedby") || e.getAttribute("aria-labelledby") || e.htmlFor;
    for (const id of refs.split(" ")) if (!document.getElementById(id)) found.push(`${name(e)} refers to ${id}, which is not there`);
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!e.labels.length && !e.ariaLabel) found.push(`${name(e)} has no label`);
  }
  for (const e of document.querySelectorAll("a[href], button")) {
    if (!(e.textContent || "").trim() && !e.ariaLabel) found.push(`${name(e)} says nothing`);
  }
  for (const e of document.querySelectorAll("th:not([scope])")) found.push(`${name(e)} heads nothing`);

  // Nothing is wider than the window, and what is pressed is large enough.
  if (document.documentElement.scrollWidth > window.innerWidth) found.push(`${document.documentElement.scrollWidth} px wide in a window of ${window.innerWidth}`);
  for (const e of document.querySelectorAll("button, select, input:not([type=hidden]), summary, .button")) {
    const box = e.getBoundingClientRect();
    if (seen(e) && e.type !== "checkbox" && (box.width < 24 || box.height < 24)) found.push(`${name(e)} is ${Math.round(box.width)}×${Math.round(box.height)} px`);
  }

  // Contrast of text: 4.5:1, or 3:1 when it is large.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const paint = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = color;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return { r, g, b, a: a / 255 };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1,
  });
  const ground = (e) => {
    if (!e) return rgba("Canvas");
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own.a === 1 ? own : over(own, ground(e.parentElement));
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const bad = new Set();
  for (let t = texts.nextNode(); t; t = texts.nextNode()) {
    const e = t.parentElement;
    if (!t.data.trim() || !seen(e) || e.closest("script, style, option")) continue;
    const style = getComputedStyle(e), below = ground(e);
    const [a, b] = [light(over(rgba(style.color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) bad.add(`${name(e)} has a contrast of ${ratio.toFixed(2)}`);
  }
  found.push(...bad);
  return found;
})()
