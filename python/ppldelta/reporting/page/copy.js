// Buttons that put the text of an element, or the page's address, on the clipboard. Where a browser does not allow that,
// the text is selected.
document.addEventListener("click", async (event) => {
  "use strict";

  const button = event.target.closest?.("[data-copy], .copy-link");
  if (!button || button.dataset.busy) return;
  if (button.matches(".copy-link")) {
    const { href, protocol } = window.location;
    const needed = protocol === "file:" ? " It leads to a file on this machine. For somebody else, send the file, and the part of the link that begins with #." : "";
    try {
      await navigator.clipboard.writeText(href);
      button.nextSibling?.remove();
      button.after(ppldelta.format.element("span", { class: "quiet", role: "status" }, `Link copied.${needed}`));
    } catch {
      const link = ppldelta.format.element("code", {}, href);
      button.nextSibling?.remove();
      button.after(ppldelta.format.element("span", { class: "quiet", role: "status" }, "Copy this: ", link, needed));
      window.getSelection().selectAllChildren(link);
    }
    return;
  }
  const from = document.getElementById(button.dataset.copy);
  const said = button.textContent;
  button.dataset.busy = "true";
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(from);
    button.textContent = "Selected: copy it from here";
  }
  setTimeout(() => { button.textContent = said; delete button.dataset.busy; }, 2000);
});
