"use strict";

/* What unfold leaves to the mouse and to the eye: by the keyboard too, and with a name (WCAG 2.2, 2.1.1 and 4.1.2). */
(() => {
    const CLICKABLE = "[x-on\\:click], [hx-get]";
    const OPERABLE = "a[href], button, input, select, textarea, summary";
    const NOT_BUTTONS = `${OPERABLE}, form, label, nav, [x-sort\\:handle]`;

    /* Icons are ligatures: their text is a name for the font, not for people. */
    const ICON = ".material-symbols-outlined";

    let iconNames = {};

    const textOf = (element) => {
        const copy = element.cloneNode(true);
        copy.querySelectorAll(ICON).forEach((icon) => icon.remove());
        return element.matches(ICON) ? "" : copy.textContent.trim();
    };

    const nameByIcon = (element) => {
        const icon = element.matches(ICON) ? element : element.querySelector(ICON);
        const named = element.ariaLabel && !element.dataset.namedByIcon;
        if (icon && !named && !element.title && !textOf(element)) {
            element.dataset.namedByIcon = "on"; // another icon may come, and with it another name
            element.ariaLabel = iconNames[icon.textContent.trim()] ?? iconNames.default;
        }
    };

    /* Switches that are spans. */
    const makeButton = (element) => {
        if (element.matches(NOT_BUTTONS)) {
            return;
        }
        nameByIcon(element);
        if (element.dataset.keyboard) {
            return;
        }
        element.dataset.keyboard = "on";
        element.role = "button";
        element.tabIndex = 0;
        element.addEventListener("keydown", (event) => {
            if ((event.key === "Enter" || event.key === " ") && event.target === element) {
                event.preventDefault();
                element.click();
            }
        });
    };

    /* A field in a table has its name at the head of the column. */
    const nameByColumn = (field) => {
        const cell = field.closest("td");
        const label = cell?.dataset.label ?? cell?.closest("table")?.tHead?.rows[0]?.cells[cell.cellIndex]?.textContent;
        if (label && !field.labels?.length && !field.ariaLabel) {
            field.ariaLabel = label.trim();
        }
    };

    /* What stands in for a select has no name of its own. */
    const nameStandIn = (box) => {
        const field = box.closest(".select2-container")?.previousElementSibling;
        const label = field?.labels?.[0]?.textContent ?? field?.ariaLabel;
        if (label) {
            box.removeAttribute("aria-labelledby");
            box.ariaLabel = [label.replace("*", "").trim(), box.textContent.trim()].filter(Boolean).join(": ");
            box.querySelectorAll("[role=textbox]").forEach((shown) => {
                shown.removeAttribute("role");
                shown.removeAttribute("aria-readonly");
            });
        }
    };

    /* Whoever opens the filters wants to be in them; they come after the list, behind it for the keyboard. */
    const enterFilters = () => {
        const panel = document.getElementById("changelist-filter");
        const shown = Boolean(panel?.checkVisibility());
        if (shown && !panel.dataset.entered) {
            panel.querySelector(OPERABLE)?.focus();
        }
        if (panel) {
            panel.dataset.entered = shown ? "on" : "";
        }
    };

    const mend = (root) => {
        const each = (selector, act) => root.querySelectorAll(selector).forEach(act);
        each(CLICKABLE, makeButton);
        each(`:is(a[href], button):has(${ICON})`, nameByIcon);
        each(`${ICON}:not([role])`, (icon) => icon.setAttribute("aria-hidden", "true"));
        each("td :is(input:not([type=hidden]), select, textarea)", nameByColumn);
        each(".select2-selection", nameStandIn);
        each(".help-tooltip[aria-label]", (tip) => { tip.role = "img"; });
    };

    document.addEventListener("DOMContentLoaded", () => {
        iconNames = JSON.parse(document.getElementById("icon-names")?.textContent ?? "{}");
        mend(document);
        let planned = false;
        new MutationObserver(() => {
            if (!planned) {
                planned = true;
                requestAnimationFrame(() => {
                    planned = false;
                    mend(document);
                });
            }
        }).observe(document.body, { childList: true, subtree: true });
        const filters = document.getElementById("changelist-filter");
        if (filters) {
            new MutationObserver(enterFilters).observe(filters, { attributeFilter: ["style"] });
        }
    });
})();

/* The pictures of config.charts.Chart. Their legends are text beside them (admin/chart.html). */
(() => {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const SERIES_COLOURS = 7;
    const LYING_LABELS_SHARE = 0.4; // of the picture's width, at most
    const LABEL_GAP_PIXELS = 16;
    const LABELS_MAX = 12;

    /* How many letters of a text fit into a width. */
    const fitting = (context, text, width) => {
        let letters = text.length;
        while (letters > 1 && context.measureText(text.slice(0, letters)).width > width) {
            letters -= 1;
        }
        return letters;
    };

    const shortened = (context, text, width) =>
        context.measureText(text).width <= width
            ? text
            : `${text.slice(0, fitting(context, text, width - context.measureText("…").width)).trimEnd()}…`;

    /* A long text as two lines, broken between words where there are any. */
    const inTwoLines = (context, text, width) => {
        const letters = fitting(context, text, width);
        if (letters === text.length) {
            return text;
        }
        const space = text.lastIndexOf(" ", letters);
        const end = space > 0 ? space : letters;
        return [text.slice(0, end), shortened(context, text.slice(end).trim(), width)];
    };

    const draw = (canvas) => {
        const { kind, labels, series } = JSON.parse(canvas.dataset.chart);
        const stacked = kind === "stacked" || kind === "hstacked";
        const lying = kind === "hbar" || kind === "hstacked";
        const text = colour("--quiet");
        const context = canvas.getContext("2d");
        const { size, family } = Chart.defaults.font;
        const isGap = (value) => value === null || value === undefined;

        const datasets = series.map(({ name, values, rest }, index) => {
            const own = colour(rest ? "--chart-rest" : `--chart-${(index % SERIES_COLOURS) + 1}`);
            return {
                label: name,
                data: values,
                borderColor: stacked ? colour("--panel-bg") : own,
                backgroundColor: own,
                borderWidth: kind === "line" ? 2 : { [lying ? "right" : "top"]: stacked ? 1 : 0 },
                // A value between gaps has no line that would show it.
                pointRadius: values.map((_, at) => (isGap(values[at - 1]) && isGap(values[at + 1]) ? 4 : 0)),
                pointHitRadius: 12,
                maxBarThickness: 24,
            };
        });

        const withFont = (act) => {
            context.save();
            context.font = `${size}px ${family}`;
            const result = act();
            context.restore();
            return result;
        };
        const labelAxis = {
            stacked,
            grid: { display: false },
            ticks: {
                color: text,
                maxRotation: 0,
                autoSkipPadding: lying ? 2 : LABEL_GAP_PIXELS,
                maxTicksLimit: lying ? labels.length : LABELS_MAX,
                callback(value) {
                    const label = this.getLabelForValue(value);
                    const width = this.chart.width * LYING_LABELS_SHARE;
                    return withFont(() => (lying ? inTwoLines : shortened)(context, label, width));
                },
            },
        };
        const valueAxis = {
            stacked,
            beginAtZero: true,
            grid: { color: colour("--panel-border") },
            ticks: { color: text, precision: 0, maxTicksLimit: 6 },
        };
        return new Chart(canvas, {
            type: kind === "line" ? "line" : "bar",
            data: { labels, datasets },
            options: {
                indexAxis: lying ? "y" : "x",
                animation: false,
                responsive: true,
                maintainAspectRatio: false,
                interaction: { mode: "index", axis: lying ? "y" : "x", intersect: false },
                plugins: { legend: { display: false } },
                scales: lying ? { x: valueAxis, y: labelAxis } : { x: labelAxis, y: valueAxis },
            },
        });
    };

    window.addEventListener("load", () => {
        const canvases = [...document.querySelectorAll("canvas[data-chart]")];
        if (!canvases.length) {
            return;
        }
        Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
        let charts = canvases.map(draw);
        const redraw = () => {
            charts.forEach((chart) => chart.destroy());
            charts = canvases.map(draw);
        };
        new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["class"] });
    });
})();
