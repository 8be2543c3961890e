/* Adds a "Copy" button behind every field that is there to be copied. */
"use strict";

for (const field of document.querySelectorAll("input[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      // Not allowed here; the text is selected and can be copied by hand.
    }
  });
  field.addEventListener("focus", () => field.select());
  field.after(button);
}
