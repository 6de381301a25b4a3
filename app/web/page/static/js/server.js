// The only module that talks to the server.

const BY_STATUS = { 413: "body-too-large", 502: "network" }; // of a proxy
const PATIENCE = 15_000; // milliseconds, for a small question; a photo may take its time
export let key = ""; // the API key: only here, not in storage, a cookie, an address or the markup

/** Use this key from now on, without what no header can carry. */
export const authorize = (text) => (key = text.replace(/[^!-~]/g, ""));

/** Why there is no answer; slug: the last part of its type. */
export const problem = (slug, fields) => ({ slug, detail: "", ...fields });

/** GET what needs no key, as json, text or blob. Paths are relative to the page, which may be behind a prefix. */
export const get = (path, kind) => request(path, kind, {});

/** POST a photo, or GET where it is null, with the key. */
export const ask = (path, kind, body, signal) => request(path, kind, {
	method: body ? "POST" : "GET", body, signal, headers: key ? { Authorization: `Bearer ${key}` } : {},
});

async function request(path, kind, { signal, ...options }) {
	try {
		const patience = options.body ? [] : [AbortSignal.timeout(PATIENCE)];
		const reply = await fetch(path, { ...options, signal: AbortSignal.any([...patience, ...(signal ? [signal] : [])]) });
		if (reply.ok) return await reply[kind]();
		throw refusal(reply.status, await reply.json().catch(() => null));
	} catch (error) {
		throw error.slug ? error : problem("network");
	}
}

export const address = (model, more = "") => `predict?model=${encodeURIComponent(model)}${more}`;

/** Resolves to the answer, its times in milliseconds, and its batch size. */
export function classify(file, model, { more, signal, onSent } = {}) {
	return new Promise((resolve, reject) => {
		// fetch does not say how much of a body is sent.
		const request = new XMLHttpRequest();
		const used = key;
		const header = (name) => request.getResponseHeader(name);
		const began = performance.now();
		request.open("POST", address(model, more));
		request.responseType = "json";
		if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
		request.upload.onprogress = (event) => onSent?.(event.loaded / event.total);
		request.onload = () => {
			const { status, response } = request;
			if (status !== 200) return reject({ ...refusal(status, response, header("Retry-After")), used });
			const stages = [...(header("Server-Timing") ?? "").matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
			resolve({ answer: response, stages: Object.fromEntries(stages), total: performance.now() - began, batchSize: Number(header("X-Batch-Size")) });
		};
		request.onerror = async () => reject(problem(await lost(file)));
		request.onabort = reject;
		signal?.addEventListener("abort", () => request.abort());
		request.send(file);
	});
}

/** Why nothing came back: no file, no server, or too much data for it. */
async function lost(file) {
	const there = await file.slice(0, 1).arrayBuffer().catch(() => null);
	if (!there) return "file-gone";
	return file.size > 1e6 && (await get("healthz", "text").catch(() => null)) ? "upload-cut" : "network";
}

const refusal = (status, body, retryAfter) => problem(body?.type?.split("/").pop() ?? BY_STATUS[status], {
	title: "The server could not do it",
	retryable: [429, 502, 503, 504].includes(status),
	...body,
	status,
	retryAfter: Number(retryAfter) || 2, // seconds
});
