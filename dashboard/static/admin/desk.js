// Keeps parts of a page of the desk current: the page is fetched again, and what is marked with
// data-live is put in place of what was there. Nothing of it lives only here.

const live = () => document.querySelectorAll("[data-live]");
const pause = document.querySelector("[data-pause]");
let paused = false;

pause?.addEventListener("click", () => {
  paused = !paused;
  [pause.textContent, pause.dataset.other] = [pause.dataset.other, pause.textContent];
  pause.setAttribute("aria-pressed", String(paused));
});

const busy = (part) => part.contains(document.activeElement)
  && document.activeElement !== document.body;

async function renew() {
  const response = await fetch(location.pathname + location.search, {
    headers: { "X-Desk-Live": "1" }, redirect: "manual", signal: AbortSignal.timeout(8000),
  });
  if (response.type === "opaqueredirect") { // the session is over
    location.reload();
    return false;
  }
  if (!response.ok) return true;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of live()) {
    const now = fresh.getElementById(part.id)
      ?? fresh.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
    if (now && !busy(part) && now.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(now));
  }
  return true;
}

async function watch() {
  for (let going = true; going && live().length;) {
    const every = Math.min(...[...live()].map((part) => Number(part.dataset.every ?? 2000)));
    await new Promise((resolve) => setTimeout(resolve, every));
    if (paused || document.visibilityState !== "visible") continue;
    try {
      going = await renew();
    } catch { // the instance restarts, or the network is away: the next turn may succeed
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
}

watch();
