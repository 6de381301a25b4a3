// Pictures drawn anew, in the browser.

const LONGEST = 1600; // pixels

/** Draw a part (left, top, width, height) on white. */
export function paint(canvas, picture, part, width, height) {
	canvas.width = Math.max(1, Math.round(width));
	canvas.height = Math.max(1, Math.round(height));
	const context = canvas.getContext("2d");
	context.fillStyle = "#fff"; // as the server does
	context.fillRect(0, 0, canvas.width, canvas.height);
	context.imageSmoothingQuality = "high";
	context.drawImage(picture, ...part, 0, 0, canvas.width, canvas.height);
}

export function toJpeg(picture, width, height) {
	const scale = Math.min(1, LONGEST / Math.max(width, height));
	const canvas = document.createElement("canvas");
	paint(canvas, picture, [0, 0, width, height], width * scale, height * scale);
	return new Promise((resolve, reject) =>
		canvas.toBlob((blob) => (blob ? resolve(blob) : reject()), "image/jpeg", 0.92));
}
