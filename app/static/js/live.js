// One line about the server, from its metrics; not while nobody looks.

import { byId, make } from "./dom.js";
import { get } from "./server.js";

const PAUSE = 5000; // milliseconds; asking is not counted as a request

/** @param {() => any[]} models of the server */
export function watchServer(models) {
	let before = null;
	let timer = 0;
	const look = async () => {
		clearTimeout(timer);
		if (document.hidden) return;
		try {
			const now = parse(await (await get("/metrics")).text());
			const rate = before ? Math.max(0, now.answers - before.answers) / (now.seconds - before.seconds) : 0;
			const ready = now.devices.length;
			const state = ready < models().length ? `${ready} of ${models().length} ready` : "ready";
			say(ready ? "ready" : "", [ready ? state : "loading", ...new Set(now.devices)].join(" · "), `${now.queue} waiting · ${rate.toFixed(1)} answers/s`);
			before = now;
		} catch {
			before = null;
			say("away", navigator.onLine ? "no connection" : "offline");
		}
		clearTimeout(timer);
		timer = setTimeout(look, PAUSE);
	};
	for (const event of ["online", "offline"]) addEventListener(event, look);
	document.addEventListener("visibilitychange", look);
	look();
}

function say(state, ...texts) {
	byId("live").dataset.state = state;
	byId("live").replaceChildren(...texts.map((text) => make("span", text)));
}

function parse(text) {
	const all = (pattern) => [...text.matchAll(pattern)].map(([, value]) => value);
	const sum = (pattern) => all(pattern).reduce((total, value) => total + Number(value), 0);
	return {
		seconds: performance.now() / 1000,
		answers: sum(/^vgg_requests_total\{code="200".*\} (.+)/gm),
		queue: sum(/^vgg_queue_depth\{.*\} (.+)/gm),
		devices: all(/^vgg_model_info\{.*?device="(\w+)/gm),
	};
}
