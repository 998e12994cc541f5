// Buttons that put the text of an element on the clipboard. Where a browser does not allow that, the text is selected.
document.addEventListener("click", async (event) => {
  "use strict";

  const button = event.target.closest?.("[data-copy]");
  if (!button || button.dataset.busy) return;
  const from = document.getElementById(button.dataset.copy);
  const said = button.textContent;
  button.dataset.busy = "true";
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(from);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = said; delete button.dataset.busy; }, 2000);
});
