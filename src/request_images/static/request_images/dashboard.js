/* Fetches a panel of the dashboard when it comes near. Without it, each is a link. */
"use strict";

(function () {
  const observer = new IntersectionObserver(
    function (entries) {
      entries
        .filter(function (entry) {
          return entry.isIntersecting;
        })
        .forEach(function (entry) {
          observer.unobserve(entry.target);
          load(entry.target);
        });
    },
    { rootMargin: "200px" },
  );

  function load(panel) {
    panel.setAttribute("aria-busy", "true");
    fetch(panel.dataset.riPanel, { credentials: "same-origin" })
      .then(function (response) {
        return response.ok ? response.text() : Promise.reject(response.status);
      })
      .then(function (text) {
        const page = new DOMParser().parseFromString(text, "text/html");
        const content = page.getElementById("ri-panel-content");
        // A page without it is that of the login: the link leads there.
        if (content) {
          panel.append.apply(panel, Array.from(content.children));
        }
      })
      .catch(function () {
        // The link stays.
      })
      .finally(function () {
        panel.removeAttribute("aria-busy");
      });
  }

  document.querySelectorAll("[data-ri-panel]").forEach(function (panel) {
    observer.observe(panel);
  });
})();
