// Before the first paint: scripts run, and a theme may have been chosen. Later: the button.
const { classList, dataset } = document.documentElement;
let storage = {};
try {
	storage = localStorage;
} catch {} // it is switched off
classList.add("scripted");
dataset.theme = storage.theme ?? "";

addEventListener("DOMContentLoaded", () => {
	if (!classList.contains("running")) classList.remove("scripted"); // a module is missing: the plain form works
	const button = document.getElementById("theme");
	const system = matchMedia("(prefers-color-scheme: dark)");
	const say = () => (button.ariaPressed = dataset.theme ? dataset.theme === "dark" : system.matches);
	button.onclick = () => {
		dataset.theme = button.ariaPressed === "true" ? "light" : "dark";
		say();
		storage.theme = dataset.theme;
	};
	system.onchange = say;
	say();
});
