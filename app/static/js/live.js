// One line about the server, from its metrics: asked rarely, and not while nobody looks.

import { byId } from "./dom.js";
import { get } from "./server.js";

const PAUSE = 5000; // milliseconds; asking is not counted as a request, nor logged as one

/** @param {() => any[]} models that the server has */
export function watchServer(models) {
	let before = null;
	let timer = 0;
	const look = async () => {
		clearTimeout(timer);
		if (document.hidden) return;
		try {
			const now = parse(await (await get("/metrics")).text());
			show(now, before, models().length);
			before = now;
		} catch {
			before = null;
			say("away", navigator.onLine ? "no connection" : "offline", "");
		}
		clearTimeout(timer);
		timer = setTimeout(look, PAUSE);
	};
	for (const event of ["online", "offline"]) addEventListener(event, look);
	document.addEventListener("visibilitychange", look);
	look();
}

function show(now, before, models) {
	const { size } = now.ready;
	const rate = before ? (1000 * (now.answers - before.answers)) / (now.at - before.at) : 0;
	const state = !size ? "loading" : size < models ? `${size} of ${models} ready` : "ready";
	say(size ? "ready" : "loading", [state, ...new Set(now.ready.values())].join(" · "), `${now.queue} waiting · ${Math.max(0, rate).toFixed(1)} answers/s`);
}

function say(state, text, load) {
	byId("live").dataset.state = state;
	byId("live-state").textContent = text;
	byId("live-load").textContent = load;
}

/** Read Prometheus's text format; `ready` maps models to devices. */
function parse(text) {
	const now = { at: performance.now(), answers: 0, queue: 0, ready: new Map() };
	for (const [, name, labels, value] of text.matchAll(/^(vgg_\w+)\{(.*)\} (\S+)$/gm)) {
		if (name === "vgg_requests_total" && labels.includes('code="200"')) now.answers += Number(value);
		if (name === "vgg_queue_depth") now.queue += Number(value);
		if (name === "vgg_model_info") now.ready.set(/model="([^"]*)/.exec(labels)[1], /device="([^"]*)/.exec(labels)[1]);
	}
	return now;
}
