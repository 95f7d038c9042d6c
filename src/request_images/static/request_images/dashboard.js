/* Fetches a panel of the dashboard when it comes near. Without it, each is a link. */
"use strict";

(() => {
  const PATIENCE = 20000; // milliseconds; the server gives up far sooner

  const observer = new IntersectionObserver(
    (entries) => {
      entries
        .filter((entry) => entry.isIntersecting)
        .forEach((entry) => {
          observer.unobserve(entry.target);
          load(entry.target);
        });
    },
    { rootMargin: "200px" },
  );

  function load(panel) {
    const control = new AbortController();
    const timer = window.setTimeout(() => {
      control.abort();
    }, PATIENCE);
    panel.setAttribute("aria-busy", "true");
    fetch(panel.dataset.riPanel, { credentials: "same-origin", signal: control.signal })
      .then((response) =>
        response.ok ? response.text() : Promise.reject(response.status),
      )
      .then((text) => {
        const page = new DOMParser().parseFromString(text, "text/html");
        // A page without it is that of the login.
        const content = page.getElementById("ri-panel-content");
        panel.append.apply(panel, Array.from(content.children));
      })
      .catch(() => {
        const note = document.createElement("p");
        note.className = "ri-note";
        note.setAttribute("role", "status");
        note.textContent = panel.dataset.riFailed;
        panel.append(note);
      })
      .finally(() => {
        window.clearTimeout(timer);
        panel.removeAttribute("aria-busy");
      });
  }

  document.querySelectorAll("[data-ri-panel]").forEach((panel) => {
    observer.observe(panel);
  });
})();
