"use strict";
const images = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const view = at("view");
const state = { image: 0, left: 0, right: 0, map: 0, zoom: 1, x: 0, y: 0, divider: 0.5 };
let lastMap = 1;

function options(select, names, chosen) {
  select.replaceChildren(...names.map((name, i) => new Option(name, i, false, i === chosen)));
}

function show(number) {
  state.image = (number + images.length) % images.length;
  const image = images[state.image];
  const names = image.layers.map((layer) => layer.title);
  const at_most = (value) => Math.min(value, names.length - 1);
  state.left = at_most(state.left);
  state.right = at_most(state.right);
  state.map = Math.min(state.map, image.maps.length);
  options(at("image"), images.map((each) => each.title), state.image);
  options(at("left"), names, state.left);
  options(at("right"), names, state.right);
  options(at("map"), ["none", ...image.maps.map((map) => map.title)], state.map);
  const heads = ["", ...image.columns];
  const row = (cells, kind) => {
    const tr = document.createElement("tr");
    tr.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text })));
    return tr;
  };
  const head = document.createElement("thead");
  head.append(row(heads, "th"));
  const body = document.createElement("tbody");
  image.layers.forEach((layer, i) => {
    const tr = row([layer.title, ...layer.figures], "td");
    tr.addEventListener("click", () => choose("right", i));
    body.append(tr);
  });
  at("figures").replaceChildren(head, body);
  layers();
  fit();
}

function choose(side, number) {
  if (number < 0 || number >= images[state.image].layers.length) return;
  state[side] = number;
  at(side).value = number;
  layers();
}

function layers() {
  const image = images[state.image];
  const put = (element, layer) => {
    element.hidden = !layer;
    if (!layer) return;
    element.src = layer.source;
    element.width = image.width;
    element.height = image.height;
  };
  put(at("below"), image.layers[state.right]);
  put(at("above"), image.layers[state.left]);
  put(at("over"), image.maps[state.map - 1]);
  at("name-left").textContent = image.layers[state.left].title;
  at("name-right").textContent = image.layers[state.right].title;
  at("figures").querySelectorAll("tbody tr").forEach((tr, i) => {
    tr.classList.toggle("shown", i === state.left || i === state.right);
  });
  draw();
}

function draw() {
  const image = images[state.image];
  const transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`;
  for (const id of ["below", "above", "over"]) {
    at(id).style.transform = transform;
    at(id).classList.toggle("sharp", state.zoom * devicePixelRatio >= 1 || at(id).naturalWidth < image.width);
  }
  const cut = (state.divider * view.clientWidth - state.x) / state.zoom;
  at("above").style.clipPath = `inset(0 ${Math.min(Math.max(image.width - cut, 0), image.width)}px 0 0)`;
  at("divider").style.left = `${100 * state.divider}%`;
  at("slider").value = Math.round(1000 * state.divider);
  at("zoom").textContent = `${Math.round(100 * state.zoom)} %`;
}

function fit() {
  const image = images[state.image];
  state.zoom = Math.min(view.clientWidth / image.width, view.clientHeight / image.height);
  if (state.zoom > 1) state.zoom = Math.floor(state.zoom);
  state.x = (view.clientWidth - state.zoom * image.width) / 2;
  state.y = (view.clientHeight - state.zoom * image.height) / 2;
  draw();
}

function enlarge(factor, x = view.clientWidth / 2, y = view.clientHeight / 2) {
  const zoom = Math.min(Math.max(state.zoom * factor, 0.05), 40);
  state.x = x - ((x - state.x) * zoom) / state.zoom;
  state.y = y - ((y - state.y) * zoom) / state.zoom;
  state.zoom = zoom;
  draw();
}

function divide(share) {
  state.divider = Math.min(Math.max(share, 0), 1);
  draw();
}

function setMap(number) {
  state.map = number;
  if (number) lastMap = number;
  at("map").value = number;
  layers();
}

const pointers = new Map();
let dividing = false;
view.addEventListener("pointerdown", (event) => {
  view.focus({ preventScroll: true });
  view.setPointerCapture(event.pointerId);
  dividing = event.target === at("divider");
  const box = view.getBoundingClientRect();
  pointers.set(event.pointerId, [event.clientX - box.left, event.clientY - box.top]);
});
view.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const box = view.getBoundingClientRect();
  const now = [event.clientX - box.left, event.clientY - box.top];
  const before = pointers.get(event.pointerId);
  const other = [...pointers].find(([id]) => id !== event.pointerId);
  pointers.set(event.pointerId, now);
  if (other) {
    const distance = (point) => Math.hypot(point[0] - other[1][0], point[1] - other[1][1]);
    state.x += (now[0] - before[0]) / 2;
    state.y += (now[1] - before[1]) / 2;
    enlarge(distance(now) / Math.max(distance(before), 1), (now[0] + other[1][0]) / 2, (now[1] + other[1][1]) / 2);
  } else if (dividing) {
    divide(now[0] / view.clientWidth);
  } else {
    state.x += now[0] - before[0];
    state.y += now[1] - before[1];
    draw();
  }
});
for (const name of ["pointerup", "pointercancel"]) {
  view.addEventListener(name, (event) => pointers.delete(event.pointerId));
}
view.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = view.getBoundingClientRect();
  enlarge(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || ["SELECT", "INPUT"].includes(event.target.tagName)) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (step[event.key] && event.shiftKey) divide(state.divider - step[event.key][0] / 50);
  else if (step[event.key]) {
    state.x += 40 * step[event.key][0];
    state.y += 40 * step[event.key][1];
    draw();
  } else if (event.key === "+" || event.key === "=") enlarge(Math.SQRT2);
  else if (event.key === "-") enlarge(Math.SQRT1_2);
  else if (event.key === "0") fit();
  else if (digit) choose(event.shiftKey ? "left" : "right", Number(digit[1]) - 1);
  else if (event.key.toLowerCase() === "e" && images[state.image].maps.length) setMap(state.map ? 0 : lastMap);
  else if (event.key === "[") show(state.image - 1);
  else if (event.key === "]") show(state.image + 1);
  else return;
  event.preventDefault();
});

at("left").addEventListener("change", (event) => choose("left", Number(event.target.value)));
at("right").addEventListener("change", (event) => choose("right", Number(event.target.value)));
at("map").addEventListener("change", (event) => setMap(Number(event.target.value)));
at("image").addEventListener("change", (event) => show(Number(event.target.value)));
at("previous").addEventListener("click", () => show(state.image - 1));
at("next").addEventListener("click", () => show(state.image + 1));
at("in").addEventListener("click", () => enlarge(Math.SQRT2));
at("out").addEventListener("click", () => enlarge(Math.SQRT1_2));
at("fit").addEventListener("click", fit);
at("slider").addEventListener("input", (event) => divide(event.target.value / 1000));
addEventListener("resize", draw);

at("images").hidden = images.length < 2;
state.left = Math.min(1, images[0].layers.length - 1);
state.right = Math.min(2, images[0].layers.length - 1);
show(0);
