"use strict";
// Keeps the sentence that says what will happen true while its terms are typed.
{
    const follow = (input, output, words) => {
        if (input && output) {
            input.addEventListener("input", () => {
                output.textContent = words(input.value);
            });
        }
    };
    const byId = (id) => document.getElementById(id);

    follow(byId("id_rollout_percent"), byId("share"), (share) => share || "…");
    follow(byId("id_publish_at"), byId("moment"), (moment) =>
        moment ? `from ${moment.replace("T", " ")} UTC on` : "from now on"
    );
}
