// The only module that talks to the server.

const BY_STATUS = { 413: "body-too-large", 415: "unsupported-format", 502: "network" };

/** Why there is no answer, from the server or from the browser. */
export class Problem extends Error {
	// slug: the last part of its type
	constructor(slug, fields) {
		super(slug);
		Object.assign(this, { slug, detail: "" }, fields);
	}
}

/** @returns {Promise<Response>} of a GET that went well */
export async function get(path) {
	const reply = await fetch(path).catch(() => {
		throw new Problem("network");
	});
	if (!reply.ok) throw problem(reply.status, await reply.text(), null);
	return reply;
}

export const address = (model, topK = 5) =>
	`/predict?model=${encodeURIComponent(model)}${topK === 5 ? "" : `&top_k=${topK}`}`;

/** Resolves to the answer, its times in milliseconds, and the size of its batch. */
export function classify(file, model, { topK, signal, onSent } = {}) {
	return new Promise((resolve, reject) => {
		// fetch cannot tell how much of a body is sent.
		const request = new XMLHttpRequest();
		const header = (name) => request.getResponseHeader(name);
		const began = performance.now();
		request.open("POST", address(model, topK));
		request.upload.onprogress = (event) => onSent?.(event.loaded / event.total);
		request.onload = () => {
			if (request.status !== 200) return reject(problem(request.status, request.responseText, header("Retry-After")));
			resolve({
				answer: JSON.parse(request.responseText),
				stages: stages(header("Server-Timing") ?? ""),
				total: performance.now() - began,
				batchSize: Number(header("X-Batch-Size")),
			});
		};
		request.onerror = async () => reject(new Problem(await lost(file)));
		request.onabort = () => reject(new Problem("cancelled"));
		signal?.addEventListener("abort", () => request.abort());
		request.send(file);
	});
}

/** Why a connection broke: is there no server, or did it not want so much? */
async function lost(file) {
	const there = file.size > 1e6 && (await get("/healthz").catch(() => null));
	return there ? "upload-cut" : "network";
}

function problem(status, text, retryAfter) {
	let body = {}; // stays empty where a proxy in between answers with a page
	try {
		body = JSON.parse(text);
	} catch {}
	return new Problem(body.type?.split("/").pop() ?? BY_STATUS[status] ?? "unknown", {
		detail: body.detail ?? "",
		retryable: body.retryable ?? [429, 502, 503, 504].includes(status),
		retryAfter: Number(retryAfter) || 2, // seconds
		requestId: body.request_id,
		limit: body.limit,
	});
}

const stages = (header) =>
	Object.fromEntries([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]));
