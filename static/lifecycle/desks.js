/* A page whose live part says that the rest is out of date is loaded anew, unless somebody is typing in it. */
(function () {
  "use strict";
  function typed() {
    return Array.from(document.querySelectorAll(".lc input, .lc textarea")).some(function (field) {
      return field.type !== "hidden" && field.value !== field.defaultValue;
    });
  }
  document.addEventListener("out-of-date", function () {
    if (!typed()) {
      window.location.reload();
      return;
    }
    if (document.querySelector(".lc-stale")) {
      return;
    }
    var note = document.createElement("div");
    note.className = "lc-stale";
    note.setAttribute("role", "status");
    note.textContent = "The request has moved on. Reload the page when you have finished typing.";
    document.body.appendChild(note);
  });
  /* A form is sent once; counting and placing a hold take seconds. */
  document.addEventListener("submit", function (event) {
    var button = event.target.querySelector("button[type=submit][data-busy]");
    if (button) {
      window.setTimeout(function () {
        button.disabled = true;
        button.textContent = button.dataset.busy;
      }, 0);
    }
  });
})();
