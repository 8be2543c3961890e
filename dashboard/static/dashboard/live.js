/* Keeps an open dashboard honest: says when it cannot update, asks again, and leaves alone what
   a person has opened. htmx does the fetching; see the hx- attributes of the cards. */
"use strict";

(() => {
  const RETRY_MS = 15000;
  const banner = document.getElementById("stale");
  const announcer = document.getElementById("announce");
  const failing = new Set();
  let opened = [];

  const sentence = () => document.getElementById("sentence").textContent.trim();
  let told = sentence();

  function failed(element) {
    if (failing.size === 0) {
      const since = document.getElementById("headline").dataset.clock;
      banner.textContent = `Can't update since ${since}. Trying again.`;
      banner.hidden = false;
    }
    failing.add(element.id);
    // A card that is fetched every minute comes back by itself; one that is fetched once would
    // stay as it is for ever.
    if (!element.getAttribute("hx-trigger").startsWith("every")) {
      setTimeout(() => {
        const card = document.getElementById(element.id);
        if (card) {
          htmx.ajax("GET", card.getAttribute("hx-get"), { source: card }).catch(() => {});
        }
      }, RETRY_MS);
    }
  }

  function succeeded(element) {
    failing.delete(element.id);
    banner.hidden = failing.size === 0;
  }

  function hasSelectionIn(element) {
    const selection = document.getSelection();
    return !selection.isCollapsed && element.contains(selection.anchorNode);
  }

  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.body.addEventListener(name, (event) => failed(event.detail.elt));
  }

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    const { target } = detail;
    if (!detail.shouldSwap) {
      return;
    }
    if (!detail.serverResponse.includes(`id="${target.id}"`)) {
      // Some other page, say the sign-in page of a network, in place of the card.
      detail.shouldSwap = false;
      failed(target);
      return;
    }
    succeeded(target);
    if (target.getAttribute("hx-trigger").startsWith("every") && hasSelectionIn(target)) {
      // Somebody is about to copy something; the next minute will do.
      detail.shouldSwap = false;
      return;
    }
    opened = [...target.querySelectorAll("details[open]")].map((details) => details.id);
  });

  document.body.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) {
      document.getElementById(id)?.setAttribute("open", "");
    }
    if (sentence() !== told) {
      told = sentence();
      announcer.textContent = told;
    }
  });
})();
