// The answer as JSON, and the request as code to copy.

import { announce, button, make } from "./dom.js";
import { address } from "./server.js";

const quote = JSON.stringify;
const absolute = (model) => new URL(address(model), document.baseURI);

export function jsonView(runs) {
	const done = runs.filter((run) => run?.reply);
	if (!done.length) return [make("p", "No answer yet.")];
	return done.map(({ reply, model }) => block(`POST ${absolute(model).href.slice(location.origin.length)}`, JSON.stringify(reply.answer, null, 2)));
}

export function codeView(photo, model, withKey) {
	if (!photo || !model) return [make("p", "No photo yet.")];
	const { name, image } = photo;
	const url = absolute(model).href;
	const [base, tls, host] = /^http(s?):\/\/([^?#]*)(?=\/)/.exec(document.baseURI);
	const header = (before, after) => (withKey ? `${before}"Authorization": "Bearer YOUR_KEY"${after}` : "");
	return [
		// What was pasted or taken is in no folder yet.
		make("p.hint", "Run this in the folder of ", make("a", { href: image.src, download: name }, name), " (click to save it)."),
		block("curl", `curl ${withKey ? '-H "Authorization: Bearer YOUR_KEY" ' : ""}--data-binary ${shell(`@${name}`)} ${shell(url)}`),
		block("Python, with httpx", `import httpx

url = ${quote(url)}
with open(${quote(name)}, "rb") as photo:
    reply = httpx.post(url, content=photo${header(", headers={", "}")})
reply.raise_for_status()
for guess in reply.json()["predictions"]:
    print(f"{guess['probability']:7.2%}  {guess['label']}")`),
		block("Python, with Hugging Face’s client", `from huggingface_hub import InferenceClient

client = InferenceClient(model=${quote(`${base}/hf/${encodeURIComponent(model)}`)}${withKey ? ', token="YOUR_KEY"' : ""})
for guess in client.image_classification(${quote(name)}):
    print(f"{guess.score:7.2%}  {guess.label}")`),
		block("Python, with Triton’s client", `import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(${quote(host)}${tls && ", ssl=True"})
photos = np.array([open(${quote(name)}, "rb").read()], dtype=np.object_)
image = triton.InferInput("image", photos.shape, "BYTES").set_data_from_numpy(photos)
best = triton.InferRequestedOutput("probabilities", class_count=5)
answer = client.infer(${quote(model)}, [image], outputs=[best]${header(", headers={", "}")})
for text in answer.as_numpy("probabilities")[0]:
    print(text.decode())`),
		block("JavaScript, with Node", `import { openAsBlob } from "node:fs";

const url = ${quote(url)};
const body = await openAsBlob(${quote(name)});
const reply = await fetch(url, { method: "POST", body${header(", headers: { ", " }")} });
console.log(await reply.json());`),
	];
}

function block(title, text) {
	const copy = button("Copy", async () => {
		await navigator.clipboard.writeText(text);
		announce((copy.textContent = "Copied"));
	}, "plain");
	copy.hidden = !navigator.clipboard; // missing without https
	return make("div.code", make("div.titled", make("h2", title), copy),
		make("pre", { tabindex: "0", role: "region", "aria-label": title }, make("code", text)));
}

/** Quote a word for a shell, if it needs that; harmless ones so that Windows takes them too. */
function shell(word) {
	if (/^[\w./:-]+$/.test(word)) return word;
	return /^[\w ./:?&=@-]+$/.test(word) ? `"${word}"` : `'${word.replaceAll("'", "'\\''")}'`;
}
