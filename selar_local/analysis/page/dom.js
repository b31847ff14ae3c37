// Elements, and text as it is shown. No text ever becomes markup.

/** An element. attributes: by name, `class` too; children: nodes and texts, null left out. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A button that does something. */
function button(label, act, attributes = {}) {
  const element = make("button", { type: "button", ...attributes }, label);
  element.addEventListener("click", act);
  return element;
}

/** White space and control characters made visible. */
function visible(text) {
  return text
    .replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "␍")
    .replace(/^ +| +$/g, (run) => "␣".repeat(run.length))
    .replace(/[\u0000-\u001f]/g, (sign) => String.fromCharCode(0x2400 + sign.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
      (sign) => `‹U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

/** A number with a true minus sign. */
const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

/** 20000 as "20,000". */
const counted = (value) => value.toLocaleString("en");

/** The value within the bounds. */
const within = (value, low, high) => Math.max(low, Math.min(value, high));
