// Joins the parts of the page, and holds the current photo.

import { askForKey } from "./access.js";
import { camera } from "./camera.js";
import { codeView, jsonView } from "./code.js";
import { announce, button, byId, make, refill, whileShown } from "./dom.js";
import { listen, ofAddress } from "./intake.js";
import { drawNetworks } from "./layers.js";
import { watchServer } from "./live.js";
import { Models } from "./models.js";
import { Photo, Preview } from "./photo.js";
import { notice, result, spoken, trouble, verdict, warnings } from "./result.js";
import { Run } from "./runs.js";
import { problem } from "./server.js";
import { Session } from "./session.js";
import { tabs } from "./tabs.js";

const preview = new Preview();
const models = new Models(changed);
const access = askForKey(() => {
	refresh();
	look();
});
const session = new Session(show, (name) => {
	for (const photo of session.photos) ask(photo, name);
});
let current; // the photo that is shown; null after a Clear
let hindrance; // why there are no models
let latest = 0; // counts photos, so that a slow one does not replace a newer one
const parts = {}; // that were opened, by id
let announced; // the last sentence for a screen reader

function show(photo) {
	if (current) byId("stage").scrollIntoView({ block: "nearest" });
	photo?.open();
	current?.close();
	current = photo;
	refuse(null);
	refresh();
}

function take(picked) {
	latest++;
	const photos = picked.map(({ file, name }) => new Photo(file, name));
	if (photos.length > 1) for (const photo of photos) photo.tries = 20; // nobody waits for one of them
	session.add(photos);
	show(photos[0]);
}

/** Say over the photo why there is no other; the answer stays. */
function refuse(why, again = look) {
	const box = byId("refused");
	box.hidden = !why;
	if (!why) return;
	box.replaceChildren(trouble(why, null, (step) => {
		refuse(null);
		step === "retry" ? again() : follow(step);
	}));
	announce(box.textContent);
	current ??= null;
	render();
}

/** After a change of photo, model, key or server. */
function refresh() {
	for (const photo of session.photos) {
		for (const run of photo.runs.values()) {
			if (!run.doubtful || !models.ready(run.model)) continue;
			run.over ? photo.runs.delete(run.model) : run.hurry();
		}
		if (photo === current || !photo.runs.size) classify(photo);
	}
	if (current !== undefined) preview.show(current, models.chosen[0]);
	drawNetworks(byId("layers"), models);
	session.render(current, models.chosen[0]);
	render();
}

function classify(photo) {
	for (const { name } of models.chosen) {
		ask(photo, name);
		if (photo === current) photo.runs.get(name)?.hasten();
	}
}

function ask(photo, name) {
	if (!photo.runs.has(name) && models.ready(name) && !access.trouble) start(photo, name);
}

function start(photo, name) {
	const run = new Run(photo.file, name, photo.tries, () => {
		if (photo.runs.get(name) !== run) return;
		if (access.wanted && run.problem?.slug === "unauthorized") {
			photo.runs.delete(name); // the next key starts another
			return access.refuse(run.problem);
		}
		const total = session.update(photo);
		if (photo === current) render(total);
		else if (total) announce(total);
		if (run.doubtful) look();
	});
	photo.runs.set(name, run);
	run.start();
}

/** `more` is for a screen reader. */
function render(more = "") {
	const { chosen } = models;
	const runs = chosen.map(({ name }) => current?.runs.get(name));
	refill(byId("panel-result"), ...answers(chosen, runs));
	refill(byId("panel-json"), ...jsonView(runs));
	refill(byId("panel-code"), ...codeView(current, chosen[0]?.name, access.wanted));
	const sentence = hindrance || access.trouble ? byId("panel-result").textContent : spoken(chosen, runs, current);
	if (sentence && sentence !== announced) announce(`${sentence} ${more}`.trim());
	announced = sentence;
	for (const part of Object.values(parts)) part.show(current, chosen);
}

function answers(chosen, runs) {
	if (hindrance) return [trouble(hindrance, null, look)];
	if (!chosen.length || current === undefined) return [notice("One moment.", `Loading ${chosen.length ? "the first photo" : "the list of models"}…`)];
	if (!current) return [notice("Your turn.", "Drop a photo anywhere on this page, paste one, or try a sample.")];
	const several = chosen.length > 1;
	const columns = chosen.map((model, index) => {
		const run = runs[index];
		const asked = run && (run.state === "done" || models.ready(model.name));
		return make("div.column", ...(several ? [make("h2", model.title)] : []),
			...(asked ? result(current, run, model, (step) => follow(step, run)) : [absent(model)]));
	});
	return [...warnings(chosen.filter(({ name }) => models.ready(name)), current, models.all), ...(several ? [verdict(chosen, runs), make("div.columns", ...columns)] : columns)];
}

function absent({ title, state, progress }) {
	if (state === "ready") return notice("This server needs an API key.", "Enter it above; your photo is then sent.");
	const text = make("span");
	if (state !== "failed") return whileShown(notice(`Loading ${title}`, text, make("progress", { "aria-label": "Loading" })), () => {
		text.textContent = models.progress ?? progress;
	});
	const others = models.all.filter(({ name }) => models.ready(name));
	return notice(`${title} is not available.`, "The server’s log says why. This page resumes automatically once it is fixed.",
		make("div.row", ...others.map(({ title, name }) => button(`Ask ${title}`, () => models.choose(name)))));
}

async function follow(step, run) {
	if (step === "choose") byId("file").click();
	if (step === "reload") location.reload();
	if (step === "retry") current.runs.delete(run.model);
	if (step === "copy") await current.replaceByJpeg().catch((why) => refuse(why?.slug ? why : problem("no-copy")));
	refresh();
}

/** Load a part of the page when it is first wanted; from then on it hears of each change. */
function later(id, load) {
	const element = byId(id);
	const open = async () => {
		try {
			const { Part } = await load();
			parts[id] ??= new Part(element);
			parts[id].show(current, models.chosen);
		} catch {
			element.open = element.checked = false;
			announce("That did not load. Reload the page.");
		}
	};
	element.ontoggle = element.onchange = open;
}

/** After another list or choice of models. */
function changed() {
	hindrance = null;
	refresh();
	if (!latest) sample(byId("samples").querySelector("img"));
}

async function sample(image) {
	const mine = ++latest;
	try {
		const picked = await ofAddress(image.src);
		if (mine === latest) take([picked]);
	} catch (why) {
		if (mine === latest) refuse(why, () => sample(image));
	}
}

later("where", () => import("./later/where.js"));
later("inside", () => import("./later/inside.js"));
later("family", () => import("./later/family.js"));
tabs(document.querySelector("[role=tablist]"));
listen(take, refuse);
camera(take);
for (const image of byId("samples").querySelectorAll("img")) image.src = image.dataset.src; // now: scripts come first
byId("samples").onclick = ({ target }) => {
	const image = target.closest("button")?.firstChild;
	if (image) sample(image);
};
addEventListener("keydown", ({ key }) => {
	for (const run of current?.runs.values() ?? []) if (key === "Escape") run.cancel();
});
const look = watchServer(models, access, (why) => {
	if (models.all.length) return; // the strip says so
	hindrance = why;
	render();
});
document.documentElement.classList.add("scripted", "running"); // see theme.js
