// Looks at the server, and says in one line how it is; not while nobody looks.

import { byId, make } from "./dom.js";
import { get } from "./server.js";

const [PAUSE, SHORT] = [5000, 1000]; // milliseconds; asking is not counted as a request

/** Returns what looks at once; onLost gets the problem when it cannot be asked. */
export function watchServer(models, onLost) {
	let before = null; // null: not asked yet, or lost
	let timer, looking;
	const look = async (doubt) => {
		if (looking || (before && document.hidden)) return;
		looking = true;
		try {
			const [text] = await Promise.all([get("/metrics", "text"), (!before || doubt || models.loading) && models.load(!before)]);
			const now = parse(text);
			if (before && before.process !== now.process) await models.load(true);
			const seconds = before ? now.seconds - before.seconds : Infinity;
			say(models, now.queue, Math.max(0, now.answers - before?.answers || 0) / seconds);
			before = now;
		} catch (problem) {
			before = null;
			show("away", navigator.onLine ? "no connection" : "offline");
			onLost(problem);
		}
		looking = false;
		clearTimeout(timer);
		timer = setTimeout(look, before && !models.loading ? PAUSE : SHORT);
	};
	for (const event of ["online", "offline"]) addEventListener(event, look);
	document.addEventListener("visibilitychange", look);
	look();
	return () => look(true);
}

function say({ all }, queue, rate) {
	const ready = all.filter((model) => model.state === "ready");
	const state = ready.length < all.length ? `${ready.length} of ${all.length} ready` : "ready";
	show(ready.length ? "ready" : "", [state, ...new Set(ready.map((model) => model.device))].join(" · "), `${queue} waiting · ${rate.toFixed(1)} answers/s`);
}

function show(state, ...texts) {
	byId("live").dataset.state = state;
	byId("live").replaceChildren(...texts.map((text) => make("span", text)));
}

function parse(text) {
	const sum = (pattern) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
	return {
		seconds: performance.now() / 1000,
		answers: sum(/^vgg_requests_total\{code="200".*\} (.+)/gm),
		queue: sum(/^vgg_queue_depth\{.*\} (.+)/gm),
		process: String(text.match(/^(process_start|vgg_model_info).*/gm)), // another after a restart
	};
}
