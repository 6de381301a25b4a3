// One run in each of its states, and whether two agree.

import { advise } from "./advice.js";
import { everyClass } from "./all_classes.js";
import { button, make, whileShown } from "./dom.js";
import { milliseconds, names, percent } from "./format.js";

const STEPS = {
	copy: "Send a smaller JPEG copy", retry: "Try again", choose: "Choose another photo", reload: "Reload the page", close: "Close",
};

export function result(photo, run, model, onStep) {
	if (run.state === "done") return answer(run, model);
	if (run.over) return [trouble(run.problem, photo, onStep)];
	return run.state === "busy" ? [busy(run)] : [skeleton(), waiting(run)];
}

export const notice = (headline, text, ...more) => make("div.notice", make("h2", headline), make("p", text), ...more);

export function trouble(problem, photo, onStep) {
	const [headline, text, ...steps] = advise(problem, photo?.file);
	const row = make("div.row");
	const offer = (copies) => steps.filter((step) => copies || step !== "copy").forEach((step, index) =>
		row.append(button(STEPS[step], () => onStep(step), index ? "button" : "button.primary")));
	// The browser can only copy what it can decode.
	photo ? photo.shown.then(offer) : offer();
	const box = notice(headline, text, row);
	box.classList.toggle("trouble", problem.slug !== "cancelled");
	return box;
}

const UNUSUAL = "This photo is unlike those the model knows.";

/** For a screen reader, once each model has something to say. */
export function spoken(models, runs, photo) {
	if (!photo || runs.some((run) => run && !run.over && run.state !== "busy")) return "";
	if (runs.length < 2) return models.map((model) => sentence(model, runs[0], photo)).join();
	return [...models.map((model, index) => `${model.title}: ${sentence(model, runs[index], photo)}`), verdict(models, runs).textContent].join(" ");
}

function sentence(model, run, photo) {
	if (!run) return model.state === "failed" ? `${model.title} is not available.` : `Loading ${model.title}.`;
	if (run.state === "busy") return `${run.problem.title}. Trying again in ${run.problem.retryAfter} seconds.`;
	if (run.state !== "done") return advise(run.problem, photo.file).slice(0, 2).join(" ");
	const [first, second] = run.reply.answer.predictions.map((guess) => `${names(guess)[0]}, ${percent(guess.probability)}`);
	return `${photo.flaw && `${photo.flaw} `}Classified: ${first}. Second: ${second}.${model.trained ? "" : " The weights are untrained: this means nothing."}${run.reply.answer.unusual ? ` ${UNUSUAL}` : ""}`;
}

const without = (models) => models.filter(({ trained }) => trained === false);
const all = (models, key, between) => models.map((model) => model[key]).join(between);

/** Banners: for models without training, for one in place of another, for a copy that lacks a part of its picture. */
export function warnings(models, { flaw }, every) {
	const untrained = without(models);
	const vggs = untrained.filter(({ layers }) => layers.length); // for others there is nothing to download
	const pull = (names) => (names ? [" Real weights: run ", make("code", `${document.body.dataset.command} pull ${names}`), " on the server, then restart it."] : []);
	const comes = (name) => every.some((model) => model.name === name && ["waiting", "loading"].includes(model.state));
	return [
		...(untrained.length ? [make("p.untrained", make("strong", `Untrained: what ${all(untrained, "title", " and ")} says means nothing.`), ...pull(all(vggs, "name", " ")))] : []),
		...models.filter((model) => model.stands_in_for).map(({ title, stands_in_for: name }) =>
			make("p.untrained", make("strong", `${title} stands in for ${name}.`), ...(comes(name) ? [` The server is loading ${name}.`] : pull(name)))),
		...(flaw ? [make("p.untrained.flaw", make("strong", flaw), " The network was given a blank in its place.")] : []),
	];
}

export function verdict(models, runs) {
	if (runs.some((run) => run?.state !== "done")) return make("p.verdict", "\u00a0");
	const untrained = without(models);
	if (untrained.length) return make("p.verdict", { "data-agree": "unknown" }, `Not compared: ${all(untrained, "title", " and ")} ${untrained[1] ? "are" : "is"} untrained.`);
	const [first, second] = runs.map((run) => run.reply.answer.predictions[0]);
	// Each model has its own order of classes; two of ImageNet's have the same name.
	const agree = first.wnid && second.wnid ? first.wnid === second.wnid : first.label === second.label;
	const name = names(first)[0];
	return make("p.verdict", { "data-agree": String(agree) }, agree ? `✓ They agree: ${name}` : `✗ They differ: ${name} or ${names(second)[0]}`);
}

function answer(run, model) {
	const { answer: { predictions, image, unusual }, batchSize } = run.reply;
	const others = model.classes - predictions.length;
	const sum = predictions.reduce((total, guess) => total + guess.probability, 0);
	const rows = predictions.map((guess) => {
		const [name, others] = names(guess);
		const fill = make("span.fill");
		fill.style.width = `${100 * guess.probability}%`;
		return make("li", make("span.name", make("span", name), " ", make("span.others", others)), make("span.share", percent(guess.probability)), make("span.bar", fill));
	});
	run.rows = rows;
	return [
		...(unusual ? [make("p.unusual", make("strong", UNUSUAL))] : []),
		make("ol.guesses", { role: "list", "data-trained": String(model.trained) }, ...rows),
		make("p.sum", `These ${rows.length} add up to ${percent(Math.min(1, sum))}${others ? `, the other ${others} share the rest` : ""}.`),
		timing(run.reply),
		make("p.hint", `${image.width} × ${image.height} ${image.format.toUpperCase()}, ${batchSize > 1 ? `in a batch of ${batchSize}` : "alone in its batch"} on ${model.device}${model.precision === "int8" ? " in int8" : ""}`),
		everyClass(run, model.classes),
	];
}

/** Where the time went, as a stacked bar. */
function timing({ stages, total }) {
	const inside = ["decode", "queue", "run", "rank"].map((name) => [name, stages[name] ?? 0]);
	const transfer = total - inside.reduce((sum, [, ms]) => sum + ms, 0);
	const parts = [["transfer", Math.max(0, transfer)], ...inside];
	const piece = ([name, ms]) => {
		const span = make(`span.${name}`);
		span.style.flexGrow = ms;
		return span;
	};
	return make("div.timing", make("span.stack", { "aria-hidden": "true" }, ...parts.map(piece)),
		make("p", make("b", milliseconds(total)), ...parts.map(([name, ms]) => make(`span.key.${name}`, `${name} ${milliseconds(ms)}`))));
}

function skeleton() {
	return make("ol.guesses", { "aria-hidden": "true" }, ...[1, 2, 3, 4, 5].map(() => make("li", make("span.name", "\u00a0"), make("span.bar"))));
}

function waiting(run) {
	const text = make("span");
	return whileShown(make("div.row.waiting", text, button("Cancel", () => run.cancel())), () => {
		const sending = run.sent < 1 ? `Sending, ${Math.floor(100 * run.sent)} %` : "Classifying";
		text.textContent = run.state === "queued" ? "Waiting for its turn" : sending;
	});
}

function busy(run) {
	const seconds = make("b");
	return whileShown(notice(`${run.problem.title}.`, run.problem.detail,
		make("p", { role: "timer" }, "Trying again in ", seconds),
		make("div.row", button("Try now", () => run.hurry(), "button.primary"), button("Cancel", () => run.cancel()))), () => {
		seconds.textContent = `${Math.max(0, Math.ceil((run.retryAt - performance.now()) / 1000))} s`;
	});
}
