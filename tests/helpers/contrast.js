// Texts of a page whose contrast with what lies behind them is too low: a function for Playwright's `evaluate`.
() => {
  const parsed = (text) => {
    const numbers = (text.match(/[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
    if (text.startsWith("color(")) return [...numbers.slice(0, 3).map((each) => 255 * each), numbers[3] ?? 1];
    return [...numbers.slice(0, 3), numbers[3] ?? (text === "transparent" ? 0 : 1)];
  };
  const over = (top, under) => {
    const alpha = top[3] + under[3] * (1 - top[3]);
    if (!alpha) return [0, 0, 0, 0];
    return [...[0, 1, 2].map((i) => (top[i] * top[3] + under[i] * under[3] * (1 - top[3])) / alpha), alpha];
  };
  const light = (color) => {
    const [r, g, b] = color.map((each) => (each /= 255, each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!/[\p{L}\p{N}]/u.test(node.textContent) || element.closest("script, style, noscript, .hidden, option")) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNode(node);
    const { width, height } = range.getBoundingClientRect();
    if (width < 1 || height < 1) continue;
    const style = getComputedStyle(element), svg = element instanceof SVGElement;
    let text = parsed(svg ? style.fill : style.color), ground = [0, 0, 0, 0];
    if (svg && text[3] === 0 && element.nextElementSibling?.matches("g[fill]")) { // a card: the letters that are seen follow
      text = parsed(getComputedStyle(element.nextElementSibling).fill);
      ground = parsed(getComputedStyle(element.ownerSVGElement.querySelector("rect")).fill);
    }
    if (svg) text[3] *= Number(style.fillOpacity);
    for (let each = element; each; each = each.parentElement) {
      const own = getComputedStyle(each);
      text[3] *= Number(own.opacity);
      if (ground[3] < 1 && !(each instanceof SVGElement && !each.matches("svg"))) ground = over(ground, parsed(own.backgroundColor));
    }
    ground = over(ground, [255, 255, 255, 1]);
    text = over(text, ground);
    const [low, high] = [light(text), light(ground)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5)) {
      found.push(`${ratio.toFixed(2)} ${element.closest("[id]")?.id} ${element.getAttribute("class") ?? element.tagName}: ${node.textContent.slice(0, 40)}`);
    }
  }
  return found;
}
