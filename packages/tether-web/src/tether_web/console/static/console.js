// What pages do beyond their forms: times in the viewer's zone, live refresh, progress of an upload, the tail of events.
(() => {
  "use strict";
  const local = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.valueOf())) {
        time.title = `${time.dateTime} (UTC)`;
        time.textContent = at.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
      }
    }
  };
  local(document);

  // A page that may change is fetched again when something happened, at most once a second, and never while it is hidden.
  // The answer to a form stays as it is.
  const live = document.body.dataset.answer ? null : document.getElementById("live");
  const tail = document.getElementById("tail");
  let waiting = false;
  // In another state a page has other forms. It is shown anew, unless somebody is writing in one of them.
  const changed = () => {
    if (!document.activeElement?.matches("input, select, textarea")) { location.replace(location.pathname); return; }
    const note = document.createElement("p");
    const link = document.createElement("a");
    note.className = "notice waiting";
    note.setAttribute("role", "status");
    link.href = location.pathname;
    link.textContent = "Show the page anew";
    note.append("This changed while you were writing. ", link);
    document.querySelector("h1").after(note);
  };
  const refresh = () => {
    if (!live || waiting || document.hidden) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      const section = document.getElementById("live");
      if (section.contains(document.activeElement)) return; // somebody reads it by keyboard
      const before = section.dataset.state;
      await htmx.ajax("GET", location.href, { source: section, target: "#live", select: "#live", swap: "outerMorph" });
      local(document);
      if (document.getElementById("live")?.dataset.state !== before) changed();
    }, 700 + Math.random() * 300);
  };

  // Types of events; none for who may not follow them, because they are about all gateway accounts.
  const types = (document.body.dataset.types || "").split(" ").filter(Boolean);
  // What makes no events, such as reading a file, is looked at again every few seconds while it goes on; so is all where there are no events.
  const again = () => {
    const seconds = Number(document.getElementById("live")?.dataset.refresh) || (types.length ? 0 : 5);
    setTimeout(() => { if (seconds) refresh(); again(); }, 1000 * (seconds || 5));
  };
  if (live) again();

  let held = false;
  const hold = document.getElementById("hold");
  hold?.addEventListener("click", () => {
    held = !held;
    hold.setAttribute("aria-pressed", String(held));
    hold.textContent = held ? "Go on" : "Pause";
  });
  const cell = (...content) => { const td = document.createElement("td"); td.append(...content); return td; };
  // Which fields of an event lead to a page, and what that shows.
  const pages = {
    attempt_id: ["/payments", "Payment"], debtor_id: ["/debtors", "Debtor"], mandate_id: ["/mandates", "Mandate"],
    schedule_id: ["/schedules", "Schedule"], difference_id: ["/differences", "Difference"], subscriber_id: ["/subscribers", "Subscriber"],
  };
  const words = (fact) => Object.entries(fact)
    .filter(([name, value]) => value !== null && value !== "" && !(name in pages) && !["event", "before", "after"].includes(name))
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
  const show = (event) => {
    if (!tail || held) return;
    const { occurred_at, fact } = JSON.parse(event.data);
    const time = document.createElement("time");
    time.dateTime = occurred_at;
    const about = Object.keys(pages).filter((name) => fact[name]).flatMap((name) => {
      const link = document.createElement("a");
      link.href = `${pages[name][0]}/${fact[name]}`;
      link.textContent = `${pages[name][1]} ${fact[name]}`;
      return [link, " "];
    });
    const change = fact.after === undefined ? "" : `${fact.before || "new"} → ${fact.after}`;
    const row = document.createElement("tr");
    row.append(cell(event.lastEventId), cell(time), cell(event.type.replace(/\.\d+$/, "")), cell(...about), cell(change), cell(words(fact)));
    local(row);
    tail.prepend(row);
    while (tail.children.length > 200) tail.lastElementChild.remove();
  };
  if ((live || tail) && types.length) {
    const heard = (event) => { show(event); refresh(); };
    const listen = () => {
      const stream = new EventSource("/api/events");
      stream.addEventListener("message", heard);
      for (const type of types) stream.addEventListener(type, heard);
      // A browser gives up after an answer such as 503, which a node that is busy or restarts gives; some seconds later it may serve again.
      stream.addEventListener("error", () => {
        if (stream.readyState === EventSource.CLOSED) setTimeout(() => { listen(); refresh(); }, 3000 + Math.random() * 4000);
      });
    };
    listen();
  }

  const form = document.getElementById("upload");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const bar = form.querySelector("progress");
    const sent = new XMLHttpRequest();
    bar.hidden = false;
    sent.upload.addEventListener("progress", (step) => { if (step.lengthComputable) bar.value = (100 * step.loaded) / step.total; });
    sent.addEventListener("load", () => {
      if (sent.status < 400 && sent.responseURL) { location.assign(sent.responseURL); return; }
      document.open(); document.write(sent.responseText); document.close();
    });
    sent.addEventListener("error", () => form.submit());
    sent.open("POST", form.action);
    sent.send(new FormData(form));
  });
})();
