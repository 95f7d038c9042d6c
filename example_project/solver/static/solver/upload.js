"use strict";

const form = document.querySelector("form");
const picture = document.getElementById("picture");
const answer = document.getElementById("answer");

const element = (name, text, className = "") =>
  Object.assign(document.createElement(name), { textContent: text, className });

form.image.addEventListener("change", () => {
  answer.replaceChildren();
  URL.revokeObjectURL(picture.querySelector("img")?.src);
  const file = form.image.files[0];
  picture.hidden = !file;
  if (!file) return;
  const image = new Image();
  image.alt = file.name;
  image.src = URL.createObjectURL(file);
  image.onerror = () => {
    picture.hidden = true;
  };
  picture.replaceChildren(image);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  picture.querySelector("svg")?.remove();
  answer.replaceChildren(element("p", "Reading…", "small"));
  try {
    const body = new FormData();
    body.append("image", form.image.files[0]);
    const response = await fetch(form.dataset.api, { method: "POST", body });
    show(await response.json());
  } catch {
    answer.replaceChildren(element("p", "The server did not answer.", "error"));
  }
});

function show(result) {
  const parts = [];
  if (result.message) parts.push(element("p", result.message, "error"));
  if (result.barcodes?.length) {
    const list = element("ul", "");
    for (const barcode of result.barcodes) {
      const item = element("li", "");
      item.append(element("b", barcode.text), ` ${barcode.format}`);
      list.append(item);
    }
    parts.push(list);
    outline(result);
  }
  if (result.width) {
    const size = `${result.width} × ${result.height} pixels, ${result.elapsed_ms} ms`;
    parts.push(element("p", size, "small"));
  }
  answer.replaceChildren(...parts);
}

// Draw a frame around each barcode, in the picture's pixel coordinates.
function outline({ barcodes, width, height }) {
  const create = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = create("svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const { position } of barcodes) {
    const frame = create("polygon");
    frame.setAttribute("points", position.map((corner) => corner.join()).join(" "));
    svg.append(frame);
  }
  picture.append(svg);
}
