// Waits until what came into view has been noticed and drawn: a function for Playwright's `evaluate`.
async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await frame(); await frame();
  if (typeof ppldelta !== "undefined") await ppldelta.plots.drawAgain(() => false);
  await frame(); await frame();
}
