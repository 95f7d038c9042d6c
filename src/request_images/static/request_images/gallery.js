/* Arrow keys in the gallery and on the page of a picture. All works without it too. */
"use strict";

(() => {
  const tiles = Array.from(document.querySelectorAll("[data-ri-tiles] a"));

  // The tile above or below: the nearest of those that are in another row.
  function beside(tile, forwards) {
    const here = tile.getBoundingClientRect();
    const rows = tiles
      .map((other) => ({ other: other, box: other.getBoundingClientRect() }))
      .filter((row) =>
        forwards ? row.box.top >= here.bottom : row.box.bottom <= here.top,
      );
    rows.sort(
      (one, other) =>
        Math.abs(one.box.top - here.top) - Math.abs(other.box.top - here.top) ||
        Math.abs(one.box.left - here.left) - Math.abs(other.box.left - here.left),
    );
    return rows.length ? rows[0].other : null;
  }

  function target(key) {
    const index = tiles.indexOf(document.activeElement);
    if (index < 0) {
      return tiles[0];
    }
    switch (key) {
      case "ArrowLeft":
        return tiles[index - 1];
      case "ArrowRight":
        return tiles[index + 1];
      case "ArrowUp":
        return beside(tiles[index], false);
      case "ArrowDown":
        return beside(tiles[index], true);
      case "Home":
        return tiles[0];
      default:
        return tiles[tiles.length - 1];
    }
  }

  const isTile = /^(Arrow(Left|Right|Up|Down)|Home|End)$/;
  const relations = { ArrowLeft: "prev", ArrowRight: "next" };

  function follow(key) {
    const link = document.querySelector(`.ri-pages a[rel="${relations[key]}"]`);
    if (link) {
      link.click();
    }
    return Boolean(link);
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest(
      'input, select, textarea, summary, button, [contenteditable], [role="region"], pre',
    );
    if (typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) {
      return;
    }
    if (tiles.length) {
      const inside = tiles.includes(document.activeElement);
      // Until a tile is chosen, up, down, Home and End scroll the page.
      if (!isTile.test(event.key) || (!inside && !relations[event.key])) {
        return;
      }
      const next = target(event.key);
      if (next) {
        next.focus();
        event.preventDefault();
      } else if (relations[event.key] && follow(event.key)) {
        event.preventDefault();
      }
    } else if (relations[event.key] && follow(event.key)) {
      event.preventDefault();
    }
  });

  function copied(button) {
    const before = button.textContent;
    button.textContent = button.dataset.riCopied;
    window.setTimeout(() => {
      button.textContent = before;
    }, 2000);
  }

  // Where there is no clipboard (without HTTPS), the text is selected to be copied.
  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  document.querySelectorAll("[data-ri-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      const source = document.getElementById(button.dataset.riCopy);
      select(source);
      if (navigator.clipboard) {
        navigator.clipboard.writeText(source.textContent).then(
          () => {
            copied(button);
          },
          () => {},
        );
      }
    });
  });
})();
