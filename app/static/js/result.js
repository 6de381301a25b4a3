// The answer of one run, in each of its states, and whether two agree.

import { advise } from "./advice.js";
import { button, make, whileShown } from "./dom.js";
import { everyClass } from "./every.js";
import { names, percent } from "./format.js";
import { timing } from "./timing.js";

const STEPS = { shrink: "Shrink it here and send", convert: "Convert it here and send", retry: "Try again", choose: "Choose another photo" };

/** @param {(step: string) => void} onStep for the buttons under an error @returns {Node[]} */
export function result(photo, run, model, onStep) {
	if (run.state === "waiting") return [skeleton(), waiting(run)];
	if (run.state === "busy") return [busy(run)];
	return run.state === "done" ? answer(run, model) : [trouble(run.problem, photo, onStep)];
}

export const notice = (headline, text, ...more) => make("div.notice", make("h2", headline), make("p", text), ...more);

export function trouble(problem, photo, onStep) {
	const { headline, text, steps } = advise(problem, photo?.file);
	const row = make("div.row");
	const offer = (copies) => steps.filter((step) => copies || step === "retry" || step === "choose").forEach((step, index) =>
		row.append(button(STEPS[step], () => onStep(step), index ? "button" : "button.primary")));
	// A copy can only be made of what the browser itself can decode.
	if (photo) photo.shown.then(offer);
	else offer(false);
	const box = notice(headline, text, row);
	box.classList.toggle("trouble", problem.slug !== "cancelled");
	return box;
}

/** The sentence that a screen reader says. */
export function spoken(run, photo) {
	if (run.state === "waiting") return `Classifying ${photo.name}.`;
	if (run.state === "busy") return `The server is busy. Trying again in ${run.problem.retryAfter} seconds.`;
	if (run.state !== "done") {
		const { headline, text } = advise(run.problem, photo.file);
		return `${headline} ${text}`;
	}
	const { predictions, model: { trained } } = run.reply.answer;
	const [first, second] = predictions.map((guess) => `${names(guess.label)[0]}, ${percent(guess.probability)}`);
	return `Classified: ${first}. Second: ${second}.${trained ? "" : " The weights are untrained: this means nothing."}`;
}

/** Whether two models say the same. */
export function verdict(runs) {
	if (runs.some((run) => run?.state !== "done")) return make("p.verdict", "\u00a0");
	const [first, second] = runs.map((run) => run.reply.answer.predictions[0]);
	const agree = first.class_index === second.class_index;
	const name = names(first.label)[0];
	return make("p.verdict", { "data-agree": String(agree) }, agree ? `✓ They agree: ${name}` : `✗ They differ: ${name} or ${names(second.label)[0]}`);
}

function answer(run, model) {
	const { answer: { predictions, image, model: { trained } }, batchSize } = run.reply;
	const sum = predictions.reduce((total, guess) => total + guess.probability, 0);
	const rows = predictions.map(({ label, probability }) => {
		const [name, others] = names(label);
		const fill = make("span.fill");
		fill.style.width = `${100 * probability}%`;
		return make("li", make("span.name", name, make("span.others", others)), make("span.share", percent(probability)), make("span.bar", fill));
	});
	return [
		make("p.mark", { hidden: trained }, "Untrained weights: this means nothing"),
		make("ol.guesses", { role: "list", "data-trained": String(trained) }, ...rows),
		make("p.sum", `These five add up to ${percent(Math.min(1, sum))}, the other ${1000 - rows.length} share the rest.`),
		timing(run.reply),
		make("p.hint", `${image.width} × ${image.height} ${image.format.toUpperCase()}, ${batchSize > 1 ? `in a batch of ${batchSize}` : "alone in its batch"} on ${model.device}`),
		everyClass(run),
	];
}

function skeleton() {
	const row = () => make("li", make("span.name", "\u00a0"), make("span.bar"));
	return make("ol.guesses", { "aria-hidden": "true" }, ...Array.from({ length: 5 }, row));
}

function waiting(run) {
	const text = make("span");
	const line = make("div.row.waiting", make("span.spinner"), text, button("Cancel", () => run.cancel()));
	whileShown(line, 200, () => {
		text.textContent = run.sent > 0 && run.sent < 1 ? `Sending, ${Math.floor(100 * run.sent)} %` : "Classifying";
	});
	return line;
}

function busy(run) {
	const seconds = make("b");
	const box = notice("The server is busy.", "It is asked once more by itself.",
		make("p", { role: "timer" }, "Trying again in ", seconds),
		make("div.row", button("Try now", () => run.hurry(), "button.primary"), button("Cancel", () => run.cancel())));
	whileShown(box, 200, () => {
		seconds.textContent = `${Math.max(0, Math.ceil((run.retryAt - performance.now()) / 1000))} s`;
	});
	return box;
}
