// What pages do beyond reading: everything here is a help, no page needs it.

const root = document.documentElement;

// Theme: as the system has it, then light, then dark; the choice is remembered.
const themes = ["", "light", "dark"];
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
    root.dataset.theme = next;
    try { localStorage.theme = next; } catch { /* a private window remembers nothing */ }
  });
}

// Copy buttons: <button data-copy="ID-OF-ELEMENT" data-done="Copied">Copy</button>
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.innerText.trim());
  } catch { // no permission, or a page without TLS: select it, so that Ctrl-C does it
    getSelection().selectAllChildren(source);
    return;
  }
  const said = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = said; }, 1500);
});
