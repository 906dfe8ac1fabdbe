// Shows the values beside the pointer. Without it the page lacks nothing else.
for (const figure of document.querySelectorAll("figure.plot")) {
  const source = figure.querySelector("script");
  if (!source) continue;
  const data = JSON.parse(source.textContent);
  const canvas = figure.querySelector(".canvas");
  const element = (parent, name, kind) => {
    const child = document.createElement(kind || "div");
    child.className = name;
    parent.append(child);
    return child;
  };
  let pointer, readOut;
  const leave = () => {
    if (pointer) { pointer.remove(); readOut.remove(); pointer = readOut = null; }
  };
  const move = event => {
    const box = canvas.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width;
    if (place < -0.02 || place > 1.02) return leave();
    let nearest = 0;
    data.at.forEach((at, index) => {
      if (Math.abs(at - place) < Math.abs(data.at[nearest] - place)) nearest = index;
    });
    pointer = pointer || element(canvas, "pointer");
    readOut = readOut || element(canvas, "read-out");
    const x = data.at[nearest] * box.width;
    pointer.style.left = x + "px";
    readOut.replaceChildren();
    element(readOut, "", "div").textContent = data.x[nearest];
    for (const line of data.lines) {
      if (line.y[nearest] === null) continue;
      const row = element(readOut, "", "div");
      const name = element(row, "", "b");
      name.textContent = line.name;
      name.style.color = line.color;
      row.append(" " + line.y[nearest]);
    }
    const width = readOut.offsetWidth;
    readOut.style.left = (x + width + 14 < box.width ? x + 10 : Math.max(0, x - width - 10)) + "px";
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerdown", move);
  canvas.addEventListener("pointerleave", leave);
}
