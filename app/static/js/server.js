// The only module that talks to the server.

const BY_STATUS = { 413: "body-too-large", 415: "unsupported-format", 502: "network" };

/** Why there is no answer: the server's problem+json, or what the browser knows. */
export class Problem extends Error {
	/** @param {string} slug the last part of its type @param {Object<string, any>} [fields] */
	constructor(slug, fields = {}) {
		super(slug);
		Object.assign(this, { slug, detail: "", retryable: false, retryAfter: 2, requestId: "", limit: null }, fields);
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

/**
 * Classify one file.
 * @param {Blob} file
 * @param {string} model
 * @param {{topK?: number, signal?: AbortSignal, onSent?: (share: number) => void}} [options]
 * @returns {Promise<{answer: any, stages: Object<string, number>, total: number, batchSize: number,
 *   requestId: string|null}>} `stages` from Server-Timing, `total` by this clock; milliseconds
 */
export function classify(file, model, { topK, signal, onSent } = {}) {
	return new Promise((resolve, reject) => {
		// XMLHttpRequest, because fetch cannot tell how much of a body is sent.
		const request = new XMLHttpRequest();
		const header = (name) => request.getResponseHeader(name);
		const began = performance.now();
		request.open("POST", address(model, topK));
		request.setRequestHeader("Accept", "application/json");
		request.setRequestHeader("Content-Type", "application/octet-stream");
		request.upload.onprogress = (event) => onSent?.(event.loaded / event.total);
		request.onload = () => {
			if (request.status !== 200) return reject(problem(request.status, request.responseText, header("Retry-After")));
			resolve({
				answer: JSON.parse(request.responseText),
				stages: stages(header("Server-Timing") ?? ""),
				total: performance.now() - began,
				batchSize: Number(header("X-Batch-Size")),
				requestId: header("X-Request-ID"),
			});
		};
		request.onerror = async () => reject(new Problem(await lost(file)));
		request.onabort = () => reject(new Problem("cancelled"));
		signal?.addEventListener("abort", () => request.abort());
		request.send(file);
	});
}

/** What broke a connection while a file was sent: is there no server, or did it want less? */
async function lost(file) {
	const there = file.size > 1e6 && (await fetch("/healthz").catch(() => null));
	return there ? "upload-cut" : "network";
}

function problem(status, text, retryAfter) {
	let body = {};
	try {
		body = JSON.parse(text);
	} catch {
		// Not ours: a proxy in between answers with a page.
	}
	return new Problem(body.type?.split("/").pop() ?? BY_STATUS[status] ?? "unknown", {
		detail: body.detail ?? "",
		retryable: body.retryable ?? [429, 502, 503, 504].includes(status),
		retryAfter: Number(retryAfter) || 2,
		requestId: body.request_id,
		limit: body.limit,
	});
}

const stages = (header) =>
	Object.fromEntries([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]));
