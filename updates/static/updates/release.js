"use strict";
// Fetches the lines that differ in a file when it is opened. Without this a link leads to them.
let last = Promise.resolve(); // one after the other: each may unpack two archives

document.querySelectorAll("details[data-url]").forEach((details) => {
    const fetchLines = async () => {
        const place = details.querySelector(".placeholder");
        if (!details.open || !place) {
            return;
        }
        details.ariaBusy = "true";
        try {
            const response = await fetch(`${details.dataset.url}&part=1`, { headers: { Accept: "text/html" } });
            if (response.ok && !response.redirected) {
                const lines = document.createElement("div");
                lines.innerHTML = await response.text();
                place.replaceWith(lines);
            }
        } finally {
            details.ariaBusy = "false"; // what failed leaves the link
        }
    };
    details.addEventListener("toggle", () => {
        last = last.then(fetchLines, fetchLines);
    });
});

// A new draft: a chapter's bundle needs a chapter, any other a scope, which two families have only one of.
{
    const FIXED_SCOPES = { app_agents: "core", experts_shared: "shared" };
    const family = document.querySelector("select[name=bundle_type]");
    const scope = document.querySelector("input[name=scope_id]");
    const rowOf = (name) => document.querySelector(`.form-row.field-${name}, .field-${name}`);
    const follow = () => {
        const isChapter = family.value === "chapter";
        rowOf("chapter")?.toggleAttribute("hidden", !isChapter);
        rowOf("scope_id")?.toggleAttribute("hidden", isChapter);
        if (isChapter || Object.values(FIXED_SCOPES).includes(scope.value)) {
            scope.value = "";
        }
        scope.value ||= FIXED_SCOPES[family.value] ?? "";
    };
    if (family && scope) {
        family.addEventListener("change", follow);
        follow();
    }
}
