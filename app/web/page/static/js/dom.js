// Finds and makes elements; nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

/** `make("p.hint", { id, onclick }, "text", node)`: an HTML element. */
export const make = (kind, ...parts) => furnish("http://www.w3.org/1999/xhtml", kind, parts);

/** The same for SVG. */
export const draw = (kind, ...parts) => furnish("http://www.w3.org/2000/svg", kind, parts);

function furnish(namespace, kind, parts) {
	const [tag, ...classes] = kind.split(".");
	const element = document.createElementNS(namespace, tag);
	if (classes.length) element.classList.add(...classes);
	for (const part of parts) {
		if (typeof part === "string" || part instanceof Node) element.append(part);
		else for (const [name, value] of Object.entries(part)) {
			if (typeof value === "function") element.addEventListener(name.slice(2), value);
			else if (value !== false) element.setAttribute(name, value);
		}
	}
	return element;
}

export const announce = (sentence) => (byId("status").textContent = sentence);

export function whileShown(element, step) {
	step();
	const timer = setInterval(() => (element.isConnected ? step() : clearInterval(timer)), 200);
	return element;
}

/** Replace the children; the parent takes their focus. */
export function refill(parent, ...children) {
	const focused = parent.contains(document.activeElement);
	parent.replaceChildren(...children);
	if (focused) parent.focus({ preventScroll: true });
}

export const button = (text, onclick, kind = "button") => make(`button.${kind}`, { onclick }, text);
