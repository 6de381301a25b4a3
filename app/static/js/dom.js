// Finding and making elements. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * Make an HTML element.
 * @param {string} kind a tag with classes, as in `p.hint`
 * @param {...any} parts strings and nodes are children; objects are attributes: functions among
 *   them listen (`onclick`), and false leaves one out
 */
export const make = (kind, ...parts) => furnish((tag) => document.createElement(tag), kind, parts);

/** Make an SVG element, in the same way. */
export const draw = (kind, ...parts) => furnish((tag) => document.createElementNS(SVG, tag), kind, parts);

function furnish(create, kind, parts) {
	const [tag, ...classes] = kind.split(".");
	const element = create(tag);
	element.classList.add(...classes);
	for (const part of parts) {
		if (typeof part === "string" || part instanceof Node) element.append(part);
		else for (const [name, value] of Object.entries(part)) set(element, name, value);
	}
	return element;
}

function set(element, name, value) {
	if (typeof value === "function") element.addEventListener(name.slice(2), value);
	else if (value !== false) element.setAttribute(name, value === true ? "" : value);
}

/** Let a screen reader say something when it has time. */
export const announce = (sentence) => (byId("status").textContent = sentence);

/** Call `step` now, and every `ms` milliseconds while `element` is on the page. */
export function whileShown(element, ms, step) {
	step();
	const timer = setInterval(() => (element.isConnected ? step() : clearInterval(timer)), ms);
}

/** Replace the children of `parent`; it takes the focus if one of them had it. */
export function refill(parent, ...children) {
	const focused = parent.contains(document.activeElement);
	parent.replaceChildren(...children);
	if (focused && !parent.contains(document.activeElement)) parent.focus({ preventScroll: true });
}

/** A button of the page. */
export const button = (text, onclick, kind = "button") => make(`button.${kind}`, { type: "button", onclick }, text);
