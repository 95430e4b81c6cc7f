/* Copy buttons, menus, selection, focus, and notices when the server does not respond. All else is HTML and htmx. */

async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // the Clipboard API requires HTTPS
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    await copyText(button.dataset.copy);
    button.classList.add("copied");
    button.setAttribute("title", "Copied");
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

/* The check box that selects all rows of a list. */
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-marks]");
  for (const box of all?.form.querySelectorAll(`[name="${all.dataset.marks}"]`) ?? []) box.checked = all.checked;
});
const showMarks = () => document.querySelectorAll("[data-marks]").forEach((box) => (box.hidden = false));
document.addEventListener("htmx:after:swap", showMarks);
showMarks();

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

/* After an error, a part that polls retries in 5 s; `again` is one of its triggers. */
document.addEventListener("htmx:error", (event) => {
  document.getElementById("lost")?.removeAttribute("hidden");
  const asking = event.detail?.ctx?.sourceElement;
  setTimeout(() => asking?.isConnected && asking.dispatchEvent(new Event("again")), 5000);
});
document.addEventListener("htmx:after:request", () => document.getElementById("lost")?.setAttribute("hidden", ""));

/* The notice of a slow response: shown after 3 s, hidden when no request is pending. */
const waiting = new Map();
const answered = (event) => {
  clearTimeout(waiting.get(event.detail?.ctx));
  waiting.delete(event.detail?.ctx);
  if (!waiting.size) document.getElementById("slow")?.setAttribute("hidden", "");
};
document.addEventListener("htmx:before:request", (event) => {
  const tell = () => document.getElementById("slow")?.removeAttribute("hidden");
  waiting.set(event.detail?.ctx, setTimeout(tell, 3000));
});
document.addEventListener("htmx:after:request", answered);
document.addEventListener("htmx:error", answered);
document.addEventListener("htmx:finally:request", answered);

/* A part that is replaced keeps the focus: on the same control if it still exists, else on the part itself. */
const controls = "a[href], button, input, select, textarea, summary";
const called = (element) => `${element.tagName} ${element.getAttribute("aria-label") ?? element.textContent.trim()}`;
let held = null;
document.addEventListener("htmx:before:swap", () => {
  const at = document.activeElement;
  const part = (at?.matches(controls) ? at.parentElement : at)?.closest("[id]");
  held = part && { at, name: called(at), part: part.id };
});
document.addEventListener("htmx:after:swap", () => {
  if (!held || held.at.isConnected || document.activeElement !== document.body) return;
  const part = document.getElementById(held.part) ?? document.getElementById("main");
  const again = [...part.querySelectorAll(controls)].find((one) => called(one) === held.name);
  if (!again) part.tabIndex = -1;
  (again ?? part).focus({ preventScroll: true });
});

/* A response that shows a secret gets the address of its page: reloading must not submit the form again. */
const here = document.body.dataset.here;
if (here) history.replaceState(null, "", here);
