
"use strict";

/* One batch size at a time; without this script all are shown, one below the other. */
const figures = document.querySelectorAll("figure");
const choices = document.querySelectorAll(".switch input");
const show = (id) => figures.forEach((figure) => { figure.hidden = figure.id !== id; });
choices.forEach((choice) => choice.addEventListener("change", () => show(choice.value)));
if (choices.length) {
  document.querySelector(".switch").hidden = false;
  show(document.querySelector(".switch input:checked").value);
}

/* The figures of a point, beside it: by mouse, by keyboard and by touch. */
const tooltip = document.getElementById("tooltip");
const hide = () => { tooltip.hidden = true; };
const tell = (point) => {
  tooltip.textContent = point.getAttribute("aria-label").replaceAll("; ", "\n");
  tooltip.hidden = false;
  const mark = point.getBoundingClientRect();
  const page = document.documentElement.clientWidth;
  const left = Math.min(Math.max(mark.left + mark.width / 2 - tooltip.offsetWidth / 2, 16), page - tooltip.offsetWidth - 16);
  const above = mark.top - tooltip.offsetHeight - 8;
  tooltip.style.left = `${left + window.scrollX}px`;
  tooltip.style.top = `${(above > 0 ? above : mark.bottom + 8) + window.scrollY}px`;
};
document.querySelectorAll(".point").forEach((point) => {
  point.addEventListener("mouseenter", () => tell(point));
  point.addEventListener("focus", () => tell(point));
  point.addEventListener("mouseleave", hide);
  point.addEventListener("blur", hide);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

/* Sorting: by number where a cell has one, by text otherwise; cells without a figure come last. */
const key = (row, column) => {
  const cell = row.cells[column];
  const text = cell.textContent;
  return { missing: text === "–", number: cell.dataset.key === undefined ? NaN : Number(cell.dataset.key), text };
};
const compare = (one, other) => {
  const numbers = one.number - other.number;
  return Number.isNaN(numbers) ? one.text.localeCompare(other.text, "en", { numeric: true }) : numbers;
};
document.querySelectorAll("table[data-sortable]").forEach((table) => {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => ({ row, ...key(row, column) }));
      rows.sort((one, other) => one.missing - other.missing || (up ? 1 : -1) * compare(one, other));
      body.append(...rows.map((entry) => entry.row));
      table.dispatchEvent(new Event("sorted"));
    });
  });
});

/* A long table shows its first rows; all of them, or those with a word, when asked. */
const ROWS = 20;
document.querySelectorAll("table[data-long]").forEach((table) => {
  const body = table.tBodies[0];
  if (body.rows.length <= ROWS) return;
  const bar = document.createElement("div");
  bar.className = "filter";
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "search";
  label.append("Only rows with ", input);
  const button = document.createElement("button");
  button.type = "button";
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  let all = false;
  const update = () => {
    const word = input.value.trim().toLowerCase();
    let found = 0, shown = 0;
    [...body.rows].forEach((row) => {
      const fits = row.textContent.toLowerCase().includes(word);
      row.hidden = !fits || (!all && found >= ROWS);
      found += fits;
      shown += !row.hidden;
    });
    count.textContent = `${shown} of ${body.rows.length} rows`;
    button.textContent = all ? `Show the first ${ROWS}` : "Show all";
  };
  input.addEventListener("input", update);
  button.addEventListener("click", () => { all = !all; update(); });
  table.addEventListener("sorted", update);
  bar.append(label, button, count);
  table.parentElement.before(bar);
  update();
});
