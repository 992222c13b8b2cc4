
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
    });
  });
});
