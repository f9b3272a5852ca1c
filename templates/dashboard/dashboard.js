// Keeps an open page up to date. The server sends the whole changing part; what is the same stays
// as it is, so that focus, selection and what somebody types are left alone.
"use strict";

const main = document.getElementById("main");
const liveness = document.getElementById("liveness");

function renew(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.hasAttribute("data-still")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const had = [...old.childNodes];
  const wanted = [...fresh.childNodes];  // some of them move out of `fresh` below
  wanted.forEach((child, place) => {
    if (place < had.length) renew(had[place], child);
    else old.append(child);
  });
  had.slice(wanted.length).forEach((child) => child.remove());
}

function show(html) {
  const page = new DOMParser().parseFromString(`<main id="main" tabindex="-1">${html}</main>`, "text/html");
  renew(main, page.getElementById("main"));
}

const events = new EventSource(document.body.dataset.live);
events.onopen = () => { liveness.textContent = liveness.dataset.liveText; };
events.onerror = () => { liveness.textContent = liveness.dataset.lostText; };
events.onmessage = (event) => {
  if (!document.hidden) show(event.data);
};
