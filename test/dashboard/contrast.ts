// A script for the page under test: which of its texts are hard to read.

/** Texts that stand out from their ground by less than 4.5 to 1, WCAG 1.4.3. */
export const lowContrasts = `(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const rgb = (color, ground) => {
    context.fillStyle = ground;
    context.fillRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (color) => {
    const [r, g, b] = color.map((n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (backgroundColor !== "rgba(0, 0, 0, 0)") return backgroundColor;
    }
    return "white";
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim() !== "");
    if (!own || !element.checkVisibility() || element.closest("script, style")) continue;
    const ground = groundOf(element);
    const [a, b] = [rgb(getComputedStyle(element).color, ground), rgb(ground, "white")].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(element.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
  }
  return low;
})()`;
