"use strict";

/* The search of the admin: a dialog on every page (Ctrl+K, ⌘K or the button), with what fits while one types.
   The button is a link to a page that does the same, and opens that in another tab or window if asked to. */
(() => {
    const PAUSE_MILLISECONDS = 150;

    const equip = (form) => {
        const input = form.querySelector("input[name=q]");
        const results = form.querySelector("[data-search-results]");
        let shown = input.value.trim();
        let waiting = 0;
        let asked = new AbortController();

        const ask = async () => {
            const text = input.value.trim();
            if (text === shown) {
                return;
            }
            asked.abort();
            asked = new AbortController();
            const address = new URL(form.action);
            address.searchParams.set("q", text);
            address.searchParams.set("while-typing", "1");
            try {
                const answer = await fetch(address, { signal: asked.signal, redirect: "error" });
                if (answer.ok) {
                    results.innerHTML = await answer.text();
                    shown = text;
                }
            } catch (error) {
                // A newer question took its place, or the network is away: the page stays, and Enter asks again.
                if (error.name !== "AbortError" && !(error instanceof TypeError)) {
                    throw error;
                }
            }
        };

        input.addEventListener("input", () => {
            clearTimeout(waiting);
            waiting = setTimeout(ask, PAUSE_MILLISECONDS);
        });

        // Arrows walk through what was found; Tab does as well.
        form.addEventListener("keydown", (event) => {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
            if (!step || event.isComposing) {
                return;
            }
            const stops = [input, ...form.querySelectorAll("[data-search-hit]")];
            const next = stops[stops.indexOf(document.activeElement) + step];
            if (next && stops.includes(document.activeElement)) {
                event.preventDefault();
                next.focus();
            }
        });
        return { input, ask };
    };

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("form[data-search]").forEach(equip);
        const dialog = document.getElementById("search-dialog");
        if (!dialog) {
            return;
        }
        const input = dialog.querySelector("input[name=q]");
        const open = () => {
            if (!dialog.open) {
                dialog.showModal();
            }
            input.focus();
            input.select();
        };
        document.querySelectorAll("[data-search-open]").forEach((link) => {
            link.setAttribute("role", "button");
            link.setAttribute("aria-haspopup", "dialog");
            link.addEventListener("click", (event) => {
                if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
                    event.preventDefault();
                    open();
                }
            });
            link.addEventListener("keydown", (event) => {
                if (event.key === " ") {
                    event.preventDefault();
                    open();
                }
            });
            if (/Mac|iPhone|iPad/.test(navigator.userAgent)) {
                link.querySelectorAll("kbd").forEach((key) => (key.textContent = "⌘ K"));
            }
        });
        dialog.querySelector("[data-search-close]").addEventListener("click", () => dialog.close());
        dialog.addEventListener("click", (event) => {
            if (event.target === dialog) {
                dialog.close(); // beside the box
            }
        });
        document.addEventListener("keydown", (event) => {
            if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
                event.preventDefault();
                open();
            }
        });
    });
})();
