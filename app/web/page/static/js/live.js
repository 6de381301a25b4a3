// Asks GET readyz how the server is, and says so; never while the tab is hidden.

import { byId } from "./dom.js";
import { get } from "./server.js";

const [LOADING, PAUSE, LONGEST] = [1000, 5000, 30_000]; // milliseconds between two looks

/** Returns a function that looks now; onLost gets the problem if no server answers. */
export function watchServer(models, access, onLost) {
	let before; // what it said; null if nothing
	let pause, timer, looking;
	const ask = async () => {
		const said = await get("readyz", "json").catch((problem) => problem);
		models.progress = said.detail;
		return said;
	};
	const look = async (doubt) => {
		if (looking || document.hidden) return;
		looking = true;
		let now = null;
		try {
			const [said] = await Promise.all([ask(), (doubt || !before) && models.load(!before)]);
			if (said.slug === "network") throw said;
			// Without the figures of a download, which change all the time.
			now = said.detail?.replace(/\b\d+\b/g, "") ?? `${said.models}`;
			if ((before && now !== before) || (said.models && models.loading)) await models.load();
			show(said, models, access);
		} catch (problem) {
			now = null;
			say("away", navigator.onLine ? "no connection" : "offline");
			onLost(problem);
		}
		pause = doubt || now !== before ? PAUSE : Math.min(2 * pause, LONGEST);
		before = now;
		looking = false;
		clearTimeout(timer);
		timer = setTimeout(look, now !== null && models.loading ? LOADING : pause);
	};
	const lookNow = () => look(true);
	for (const event of ["online", "offline", "visibilitychange"]) addEventListener(event, lookNow);
	look();
	return lookNow;
}

function show({ slug, title }, { all }, { trouble }) {
	if (slug && slug !== "not-ready") return say("away", title);
	const ready = all.filter(({ state }) => state === "ready");
	const state = ready.length < all.length ? `${ready.length} of ${all.length} ready` : "ready";
	say(ready.length && !trouble ? "ready" : "", [state, ...new Set(ready.map(({ device }) => device)), trouble].filter(Boolean).join(" · "));
}

function say(state, text) {
	byId("live").dataset.state = state;
	byId("live").textContent = text;
}
