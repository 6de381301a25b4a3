// Every way in for a photo except the camera.

import { byId } from "./dom.js";
import { get, problem } from "./server.js";

export function listen(onPicked, onTrouble) {
	const take = async (source) => {
		try {
			const picked = await source;
			if (picked.length) onPicked(picked);
		} catch (error) {
			onTrouble(error.slug ? error : unreadable("Save it as a file and choose that."));
		}
	};
	const input = byId("file");
	input.multiple = true; // without scripts, the form sends one
	input.onchange = () => {
		take(ofFiles(input.files));
		input.value = ""; // the same file can be chosen again
	};
	addEventListener("paste", (event) => {
		if (!event.target.closest?.("input")) take(ofTransfer(event.clipboardData));
	});
	const button = byId("paste");
	button.hidden = !navigator.clipboard?.read;
	button.onclick = () => take(ofClipboard());
	drop(take);
}

function drop(take) {
	const veil = byId("drop");
	const hide = () => (veil.hidden = true);
	const over = (event) => {
		if (!["Files", "text/uri-list"].some((type) => event.dataTransfer.types.includes(type))) return;
		event.preventDefault();
		veil.hidden = false;
	};
	for (const type of ["dragenter", "dragover"]) addEventListener(type, over);
	addEventListener("dragleave", (event) => event.relatedTarget ?? hide());
	addEventListener("dragend", hide);
	addEventListener("drop", (event) => {
		if (veil.hidden) return;
		hide();
		event.preventDefault();
		take(ofTransfer(event.dataTransfer));
	});
}

const ofFiles = (files) => [...files].map((file) => ({ file, name: file.name || "pasted photo" }));
const unreadable = (detail) => problem("unreadable", { detail });

async function ofTransfer(transfer) {
	// Most browsers give the picture itself when one is dragged out of a page.
	if (transfer.files.length) {
		const items = [...transfer.items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry()?.isDirectory);
		if (!items.length) throw unreadable("It is a folder. Drop the photos inside it instead.");
		return ofFiles(items.map((item) => item.getAsFile()));
	}
	const text = transfer.getData("text/uri-list") || transfer.getData("text/plain");
	return [await ofAddress(text.split("\n").find((line) => !line.startsWith("#")).trim())];
}

export async function ofAddress(text) {
	if (!URL.canParse(text)) throw unreadable("It is text. Copy the picture itself, not its name.");
	const { origin, protocol, pathname } = new URL(text);
	const data = protocol === "data:";
	// Asking other sites would tell them who looks at what.
	if (origin !== location.origin && !data) throw problem("elsewhere");
	return { file: await get(text, "blob"), name: data ? "dragged photo" : decodeURIComponent(pathname.split("/").pop()) };
}

async function ofClipboard() {
	for (const item of await navigator.clipboard.read()) {
		const type = item.types.find((name) => name.startsWith("image/"));
		if (type) return [{ file: await item.getType(type), name: "pasted photo" }];
	}
	throw unreadable("The clipboard holds no picture. Copy one and paste again.");
}
