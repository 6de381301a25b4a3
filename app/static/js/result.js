// The answer of one run, in each of its states, and whether two agree.

import { advise } from "./advice.js";
import { button, make, whileShown } from "./dom.js";
import { everyClass } from "./every.js";
import { names, percent } from "./format.js";
import { timing } from "./timing.js";

const CLASSES = 1000;
const STEPS = {
	shrink: "Shrink it here and send",
	convert: "Convert it here and send",
	retry: "Try again",
	choose: "Choose another photo",
};

/**
 * @param {any} photo
 * @param {any} run
 * @param {any} model of GET /models/{name}
 * @param {(step: string) => void} onStep for the buttons under an error
 * @returns {Node[]}
 */
export function result(photo, run, model, onStep) {
	switch (run.state) {
		case "waiting":
			return [skeleton(), waiting(run)];
		case "busy":
			return [busy(run)];
		case "done":
			return answer(run, model);
		default:
			return [trouble(run.problem, photo, onStep)];
	}
}

/** A headline, a text, and what belongs to them. */
export const notice = (headline, text, ...more) => make("div.notice", make("h2", headline), make("p", text), ...more);

/** What went wrong, and buttons for what to do next. */
export function trouble(problem, photo, onStep) {
	const { headline, text, steps } = advise(problem, photo?.file);
	const row = make("div.row");
	const offer = (allowed) => {
		for (const step of steps.filter(allowed))
			row.append(button(STEPS[step], () => onStep(step), row.childElementCount ? "button" : "button.primary"));
	};
	const local = (step) => step === "shrink" || step === "convert";
	// A copy can only be made of what the browser itself can decode.
	if (steps.some(local)) photo.shown.then((shown) => offer((step) => shown || !local(step)));
	else offer(() => true);
	const box = notice(headline, text, row);
	box.classList.toggle("trouble", problem.slug !== "cancelled");
	return box;
}

/** The sentence that a screen reader says. */
export function spoken(run, photo) {
	if (run.state === "waiting") return `Classifying ${photo.name}.`;
	if (run.state === "busy") return `The server is busy. Trying again in ${Math.ceil(run.problem.retryAfter)} seconds.`;
	if (run.state !== "done") {
		const { headline, text } = advise(run.problem, photo.file);
		return `${headline} ${text}`;
	}
	const { predictions, model } = run.reply.answer;
	const [first, second] = predictions.map((guess) => `${names(guess.label)[0]}, ${percent(guess.probability)}`);
	return `Classified: ${first}. Second: ${second}.${model.trained ? "" : " The weights are untrained: this means nothing."}`;
}

/** Whether two models say the same. */
export function verdict(runs) {
	if (runs.some((run) => run?.state !== "done")) return make("p.verdict", "\u00a0");
	const [first, second] = runs.map((run) => run.reply.answer.predictions[0]);
	const agree = first.class_index === second.class_index;
	const name = names(first.label)[0];
	return make("p.verdict", { "data-agree": String(agree) }, make("span", { "aria-hidden": "true" }, agree ? "= " : "≠ "),
		agree ? `They agree: ${name}` : `They differ: ${name} or ${names(second.label)[0]}`);
}

function answer(run, model) {
	const { answer: { predictions, image, model: { trained } }, batchSize } = run.reply;
	const sum = predictions.reduce((total, guess) => total + guess.probability, 0);
	const rows = predictions.map(({ label, probability }) => {
		const [name, others] = names(label);
		const fill = make("span.fill");
		fill.style.width = `${100 * probability}%`;
		return make("li", make("span.name", name, make("span.others", others)), make("span.share", percent(probability)),
			make("span.bar", { "aria-hidden": "true" }, fill));
	});
	return [
		make("p.mark", { hidden: trained }, "Untrained weights: this means nothing"),
		make("ol.guesses", { role: "list", "data-trained": String(trained) }, ...rows),
		make("p.sum", `These five add up to ${percent(Math.min(1, sum))}, the other ${CLASSES - rows.length} share the rest.`),
		timing(run.reply),
		make("p.hint", `${image.width} × ${image.height} ${image.format.toUpperCase()}, ${batchSize > 1 ? `in a batch of ${batchSize}` : "alone in its batch"} on ${model.device}`),
		everyClass(run),
	];
}

function skeleton() {
	const row = () => make("li", make("span.name", "\u00a0"), make("span.bar"));
	return make("ol.guesses.skeleton", { "aria-hidden": "true" }, ...Array.from({ length: 5 }, row));
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
