// The page: joins its parts, and holds the photo that is shown.

import { camera } from "./camera.js";
import { codeView, jsonView } from "./code.js";
import { announce, byId, make, refill } from "./dom.js";
import { listen, ofAddress } from "./intake.js";
import { architecture } from "./layers.js";
import { watchServer } from "./live.js";
import { Models } from "./models.js";
import { Photo, Preview } from "./photo.js";
import { notice, result, spoken, trouble, verdict } from "./result.js";
import { Run } from "./runs.js";
import { Session } from "./session.js";
import { tabs } from "./tabs.js";

const preview = new Preview();
const models = new Models(refresh);
const session = new Session(show);
let current = null; // the photo that is shown
let hindrance = null; // why there is no photo, or no model: a Problem
let drawn; // names of the models whose layers are drawn

function show(photo) {
	if (current) byId("stage").scrollIntoView({ block: "nearest" });
	current = photo;
	hindrance = null;
	refresh();
}

function take(picked) {
	latest++;
	const photos = picked.map(({ file, name }) => new Photo(file, name));
	session.add(photos);
	show(photos[0]);
}

function refuse(problem) {
	hindrance = problem;
	render();
	byId("status").textContent = byId("panel-result").textContent;
}

/** After another photo, another model, or a model that got further. */
function refresh() {
	for (const photo of session.photos) if (photo === current || !photo.runs.size) classify(photo);
	preview.show(current, models.chosen[0]);
	warn();
	network();
	render();
}

/** Start what has not been started. */
function classify(photo) {
	for (const { name, state } of models.chosen) {
		if (state !== "ready" || photo.runs.has(name)) continue;
		const run = new Run(photo.file, name);
		photo.runs.set(name, run);
		run.addEventListener("change", () => {
			if (photo.runs.get(name) !== run) return;
			render();
			if (photo === current) announce(spoken(run, photo));
		});
		run.start();
	}
}

function render() {
	const { chosen } = models;
	const runs = chosen.map(({ name }) => current?.runs.get(name));
	session.render(current, chosen[0]?.name);
	refill(byId("panel-result"), ...answers(chosen, runs));
	refill(byId("panel-json"), ...jsonView(runs));
	refill(byId("panel-code"), ...codeView(current?.name ?? "photo.jpg", chosen[0]?.name ?? "vgg16"));
}

function answers(chosen, runs) {
	if (hindrance) return [trouble(hindrance, null, (step) => follow(step))];
	if (!chosen.length) return [notice("One moment.", "The server is asked what it has.")];
	if (!current) return [notice("Your turn.", "Drop a photo anywhere on this page, paste one, or try a sample.")];
	const columns = chosen.map((model, index) => make("div.column",
		...(chosen.length > 1 ? [make("h2", model.title)] : []),
		...(runs[index] ? result(current, runs[index], model, (step) => follow(step, runs[index])) : [absent(model)])));
	return chosen.length > 1 ? [verdict(runs), make("div.columns", ...columns)] : columns;
}

function absent({ title, state, progress }) {
	if (state === "failed") return notice(`${title} is not available.`, "The server’s log says why.");
	return notice(`Loading ${title}`, `${progress}`, make("progress", { "aria-label": "Loading" }));
}

/** What a button under an error says. */
async function follow(step, run) {
	if (step === "choose") return byId("file").click();
	if (!run) return begin();
	if (step === "retry") current.runs.delete(run.model);
	else await current.replaceByJpeg().catch(() => announce("The browser cannot make a copy."));
	refresh();
}

/** A banner that cannot be missed, while a chosen model has weights that mean nothing. */
function warn() {
	const untrained = models.chosen.filter((model) => model.trained === false);
	const all = (key, between) => untrained.map((model) => model[key]).join(between);
	byId("untrained").hidden = !untrained.length;
	byId("untrained").replaceChildren(make("strong", `Untrained: what ${all("title", " and ")} says means nothing. `), "For the real weights run ",
		make("code", `vgg-serve pull ${all("name", " ")}`), " and start again without ", make("code", "VGG_ON_MISSING_WEIGHTS=untrained"), ".");
}

function network() {
	const [chosen, all] = [models.chosen, models.all].map((some) => some.filter((model) => model.layers.length));
	const shown = chosen.length ? chosen : all;
	const key = shown.map((model) => model.name).join();
	if (drawn === key) return;
	drawn = key;
	byId("layers").replaceChildren(...(key ? shown.map(architecture) : [make("p", "No model of this server is a VGG, so there are no layers to show.")]));
}

/** The answer before the first click. */
async function begin() {
	hindrance = null;
	render();
	try {
		await models.load();
		if (session.photos.length) refresh();
		else await sample(byId("samples").querySelector("img"));
	} catch (problem) {
		refuse(problem);
	}
}

let latest = 0; // a slow photo must not replace a newer one
async function sample(image) {
	const mine = ++latest;
	const picked = await ofAddress(image.src);
	if (mine === latest) take([picked]);
}

tabs(document.querySelector("[role=tablist]"));
listen(take, refuse);
camera(take);
byId("samples").addEventListener("click", ({ target }) => {
	const image = target.closest("button")?.firstChild;
	if (image) sample(image).catch(refuse);
});
addEventListener("keydown", ({ key }) => {
	for (const run of current?.runs.values() ?? []) if (key === "Escape") run.cancel();
});
addEventListener("online", () => {
	for (const { runs } of session.photos) for (const [name, run] of runs) if (run.problem?.slug === "network") runs.delete(name);
	models.all.length ? refresh() : begin();
});
watchServer(() => models.all);
begin();
