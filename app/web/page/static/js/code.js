// The answer as JSON, and the request as code to copy.

import { announce, button, make } from "./dom.js";
import { address } from "./server.js";

export function jsonView(runs) {
	const done = runs.filter((run) => run?.reply);
	if (!done.length) return [make("p", "There is no answer yet.")];
	return done.map(({ reply, model }) => block(`POST ${address(model)}`, JSON.stringify(reply.answer, null, 2)));
}

export function codeView(photo, model) {
	if (!photo || !model) return [make("p", "There is no photo yet.")];
	const { name, image } = photo;
	const url = location.origin + address(model);
	return [
		// What was pasted, taken or shrunk here lies in no folder yet.
		make("p.hint", "In the folder of ", make("a", { href: image.src, download: name }, name), ", which is saved by a click as it was sent."),
		block("curl", `curl --data-binary @${shell(name)} ${shell(url)}`),
		block("Python, with httpx", `import httpx

with open(${JSON.stringify(name)}, "rb") as photo:
    reply = httpx.post(${JSON.stringify(url)}, content=photo)
reply.raise_for_status()
for guess in reply.json()["predictions"]:
    print(f"{guess['probability']:7.2%}  {guess['label']}")`),
		block("JavaScript, with Node", `import { openAsBlob } from "node:fs";

const body = await openAsBlob(${JSON.stringify(name)});
const reply = await fetch(${JSON.stringify(url)}, { method: "POST", body });
console.log(await reply.json());`),
	];
}

function block(title, text) {
	const copy = button("Copy", async () => {
		await navigator.clipboard.writeText(text);
		announce((copy.textContent = "Copied"));
	}, "plain");
	copy.hidden = !navigator.clipboard; // there is none without https
	return make("div.code", make("div.titled", make("h2", title), copy),
		make("pre", { tabindex: "0", role: "region", "aria-label": title }, make("code", text)));
}

/** Quote a word for a POSIX shell, if it needs that. */
const shell = (word) => (/^[\w./:-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
