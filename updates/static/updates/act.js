"use strict";
// Keeps the sentences that say what will happen true while the terms are typed.
{
    const EXACT_BELOW = 100; // as in updates/admin/outlook.py
    const byId = (id) => document.getElementById(id);
    const share = byId("id_rollout_percent");
    const time = byId("id_publish_at");
    const moment = byId("moment");

    const rounded = (devices) => {
        const whole = Math.round(devices);
        if (whole < EXACT_BELOW) {
            return whole;
        }
        const unit = 10 ** (String(whole).length - 2);
        return Math.round(whole / unit) * unit;
    };

    const amount = (data, percent) => {
        const atNone = Number(data.atNone);
        const devices = atNone + ((Number(data.atAll) - atNone) * percent) / 100;
        const isExact = !("isEstimate" in data) && (percent === 0 || percent === 100);
        const number = (isExact ? Math.round(devices) : rounded(devices)).toLocaleString(document.documentElement.lang);
        return isExact ? number : data.about.replace("{number}", number);
    };

    const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);
    const shown = (local) => local.replace("T", " ");

    const follow = () => {
        const isLater = Boolean(time?.value);
        if (share) {
            byId("share").textContent = share.value.trim() || "…";
        }
        if (moment && time) {
            moment.textContent = isLater ? moment.dataset.later.replace("{time}", shown(time.value)) : moment.dataset.now;
        }
        document.querySelectorAll("output.amount").forEach((output) => {
            const text = share ? share.value.trim() : output.dataset.share;
            const percent = Number(text);
            const isShare = text !== "" && percent >= 0 && percent <= 100;
            const pattern = isLater ? output.dataset.later : output.dataset.now;
            const devices = isShare ? amount(output.dataset, percent) : "…";
            output.textContent = capitalized(
                pattern.replace("{amount}", devices).replace("{time}", isLater ? `${shown(time.value)} UTC` : "")
            );
        });
    };

    share?.addEventListener("input", follow);
    time?.addEventListener("input", follow);
    if (share || time) {
        follow(); // this script may come after the first key
    }
}
