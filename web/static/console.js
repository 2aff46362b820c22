// The one script of the console. It only adds comfort: without it every page and every action works.
"use strict";

(() => {
  document.documentElement.classList.add("js");
  const status = document.getElementById("status");

  // say announces a sentence to people who do not see what changed.
  const say = (text) => {
    if (!status) return;
    const p = document.createElement("p");
    p.className = "hidden";
    p.textContent = text;
    status.append(p);
    setTimeout(() => p.remove(), 4000);
  };

  // copy falls back to a selection where the clipboard is closed: browsers open it over HTTPS and on localhost only.
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
      return;
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copying is not allowed");
  };

  const secret = document.querySelector("[data-secret]");
  let saved = false;

  const copied = (button) => {
    const label = button.classList.contains("button") ? button : null;
    const before = label && label.textContent;
    button.classList.add("copied");
    if (label) label.textContent = "Copied";
    say("Copied.");
    setTimeout(() => {
      button.classList.remove("copied");
      if (label) label.textContent = before;
    }, 1800);
  };

  const download = (button) => {
    const text = document.getElementById(button.dataset.download).textContent;
    const link = document.createElement("a");
    const url = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
    link.href = url;
    link.download = button.dataset.name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    say("The file is being saved.");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from], [data-download]");
    if (!button) {
      const menu = document.querySelector("details.menu[open]");
      if (menu && !menu.contains(event.target)) menu.open = false;
      return;
    }
    if (button.dataset.download) {
      download(button);
      saved = true;
      return;
    }
    const from = button.dataset.copyFrom;
    try {
      await copy(from ? document.getElementById(from).textContent : button.dataset.copy);
      if (from) saved = true;
      copied(button);
    } catch {
      say("Copying is not allowed here. Select the text and copy it.");
    }
  });

  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // A secret that was selected and copied by hand counts as saved.
  if (secret) {
    secret.addEventListener("copy", () => { saved = true; });
    let asked = false;
    window.addEventListener("beforeunload", (event) => {
      if (saved || asked) return;
      asked = true;
      event.preventDefault();
    });
  }

  // A private key in a pasted creds file stays on this machine.
  const seedless = (text) => text
    .replace(/-----BEGIN USER NKEY SEED-----[\s\S]*?(------END USER NKEY SEED------|$)/g, "")
    .split("\n").map((line) => (line.trim().startsWith("eyJ") ? line : line.replace(/S[OAUNCX][A-Za-z2-7]{56}/g, ""))).join("\n");
  for (const area of document.querySelectorAll("textarea[data-jwt]")) {
    const clean = () => {
      const text = seedless(area.value);
      if (text === area.value) return;
      area.value = text;
      say("The private key was cut out. It is not sent.");
    };
    area.addEventListener("input", clean);
    area.form.addEventListener("submit", clean, true);
  }

  // A second click must not send a form twice; coming back by Back makes it usable again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // Times become relative, with the full one in the tooltip and for screen readers on demand.
  const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const tell = (time) => {
    const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
    if (Number.isNaN(seconds)) return;
    if (!time.title) time.title = time.textContent;
    const [unit, size] = units.find(([, s]) => Math.abs(seconds) >= s) || ["second", 1];
    time.textContent = Math.abs(seconds) < 5 ? "just now" : relative.format(Math.round(seconds / size), unit);
  };
  const tellAll = () => document.querySelectorAll("time[datetime]:not([data-exact])").forEach(tell);
  tellAll();
  setInterval(tellAll, 30000);

  // Events go on by themselves where the page ended. While paused they wait, and are counted.
  const log = document.querySelector("[data-events]");
  const pause = document.querySelector("[data-pause]");
  if (log && pause && window.EventSource) {
    const most = 200;
    let waiting = [];
    let lost = 0;
    const words = {};
    for (const li of document.querySelectorAll("#event-words li")) words[li.dataset.type] = li.firstElementChild;
    const cell = (row, name, label, text) => {
      const td = row.appendChild(document.createElement(name));
      td.dataset.label = label;
      td.textContent = text || "";
      return td;
    };
    const show = (e) => {
      log.closest(".table").hidden = false;
      const row = document.createElement("tr");
      if (e.type === "gap") row.className = "gap";
      const when = cell(row, "td", "When").appendChild(document.createElement("time"));
      when.dateTime = e.at;
      when.title = e.at;
      tell(when);
      const what = cell(row, "th", "What");
      what.scope = "row";
      what.append(words[e.type].cloneNode(true));
      const account = cell(row, "td", "Account");
      if (e.account_id) {
        const a = account.appendChild(document.createElement("a"));
        a.href = "/accounts/" + encodeURIComponent(e.account_id);
        a.textContent = e.account_id.slice(0, 4) + "…" + e.account_id.slice(-4);
      }
      cell(row, "td", "Who", [e.user || e.client, e.host].filter(Boolean).join(" from "));
      cell(row, "td", "Server", e.server_name);
      const detail = cell(row, "td", "Detail", e.text || e.reason);
      if (e.denial_id) {
        const a = document.createElement("a");
        a.href = "/denials/" + encodeURIComponent(e.denial_id);
        a.textContent = "Explain";
        detail.append(" ", a);
      }
      log.prepend(row);
      while (log.rows.length > most) log.lastElementChild.remove();
    };
    const label = () => { pause.textContent = paused() ? "Resume" + (waiting.length ? " (" + (waiting.length + lost) + " new)" : "") : "Pause"; };
    const paused = () => pause.getAttribute("aria-pressed") === "true";
    const source = new EventSource(log.dataset.events);
    for (const type of Object.keys(words)) {
      source.addEventListener(type, (m) => {
        const e = JSON.parse(m.data);
        if (!paused()) return show(e);
        waiting.push(e);
        if (waiting.length > most) { waiting.shift(); lost++; }
        label();
      });
    }
    pause.hidden = false;
    pause.addEventListener("click", () => {
      pause.setAttribute("aria-pressed", String(!paused()));
      if (!paused()) { waiting.forEach(show); waiting = []; lost = 0; }
      label();
    });
  }
})();
