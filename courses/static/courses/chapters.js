"use strict";

/* The table of chapters: rows are put in order by dragging, by the arrows and by numbers; a new row comes last. */
document.addEventListener("DOMContentLoaded", () => {
    const table = document.querySelector("table.chapters");
    if (!table) {
        return;
    }
    const rows = () => [...table.querySelectorAll(":scope > .form-group:not(.empty-form)")];
    const orderOf = (row) => row.querySelector("td.field-order input");

    /* The numbers stay, in their order: those of somebody who counts by tens go on doing so. */
    const number = () => {
        const fields = rows().map(orderOf).filter(Boolean);
        const numbers = fields.map((field) => Number(field.value)).sort((one, other) => one - other);
        const clear = numbers.every((value, index) => Number.isInteger(value) && (!index || value > numbers[index - 1]));
        fields.forEach((field, index) => {
            field.value = clear ? numbers[index] : (index + 1) * Number(table.dataset.step);
        });
    };

    table.addEventListener("end", number); // of Sortable, when a row was dropped

    table.addEventListener("click", (event) => {
        const button = event.target.closest("[data-move]");
        if (!button) {
            return;
        }
        const all = rows();
        const row = button.closest(".form-group");
        const place = all.indexOf(row);
        const neighbour = all[place + Number(button.dataset.move)];
        if (!neighbour) {
            return;
        }
        if (button.dataset.move === "1") {
            neighbour.after(row);
        } else {
            neighbour.before(row);
        }
        number();
        button.focus();
    });

    /* unfold's script takes the rows below one that goes from their text, which has no part in what was typed. */
    table.addEventListener("input", ({ target }) => {
        if (!target.closest(".template")) {
            return;
        }
        if (target.type === "checkbox") {
            target.toggleAttribute("checked", target.checked);
        } else {
            target.setAttribute("value", target.value);
        }
    });

    /* Whether there are as many as there may be. unfold's script hides the link's parent when it was used by a key. */
    const tellRoom = () => {
        const link = table.querySelector(".add-row");
        const told = table.querySelector(".at-most");
        const isFull = rows().length >= Number(told.dataset.most);
        link.classList.toggle("hidden", isFull);
        link.parentElement.classList.remove("hidden");
        told.hidden = !isFull;
    };

    document.addEventListener("formset:removed", ({ detail }) => {
        if (detail.formsetName === "chapters") {
            tellRoom();
        }
    });

    table.addEventListener("formset:added", ({ target }) => {
        tellRoom();
        const row = target.closest(".form-group");
        const others = rows().filter((other) => other !== row).map((other) => Number(orderOf(other)?.value) || 0);
        const order = orderOf(row);
        order.setAttribute("value", Math.max(0, ...others) + Number(table.dataset.step));
        order.value = order.getAttribute("value");
        row.querySelector("td.field-chapter_code input").focus();
    });
});
