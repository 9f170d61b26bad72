"use strict";
// Makes every column's title a button that sorts its table. Without this script the tables stay as they were written.
const status = document.getElementById("sorted");

function comparer(column, words, sign) {
  return (a, b) => {
    const [left, right] = [a, b].map((row) => row.cells[column].dataset.value);
    if (left === "" || right === "") return (left === "") - (right === ""); // what is missing stays last
    return sign * (words ? left.localeCompare(right, "en") : Number(left) - Number(right));
  };
}

function sort(table, header) {
  const words = "words" in header.dataset;
  const now = header.getAttribute("aria-sort");
  const order = now === null ? (words ? "ascending" : "descending") : now === "ascending" ? "descending" : "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const rows = Array.from(table.tBodies[0].rows);
  table.tBodies[0].append(...rows.sort(comparer(header.cellIndex, words, order === "ascending" ? 1 : -1)));
  status.textContent = `Sorted by ${header.textContent}, ${order}.`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header));
    header.append(button);
  }
}
