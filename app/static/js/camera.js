// A photo from the camera, only after a click.

import { byId } from "./dom.js";
import { toJpeg } from "./jpeg.js";

export function camera(onPicked) {
	byId("camera").hidden = !navigator.mediaDevices; // there is none without https
	const [open, dialog, video, trouble, shoot] = ["camera", "camera-dialog", "video", "camera-trouble", "shoot"].map(byId);
	const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());
	open.addEventListener("click", async () => {
		trouble.textContent = "";
		shoot.disabled = true;
		dialog.showModal();
		try {
			const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
			if (!dialog.open) return stop(stream);
			video.srcObject = stream;
			await video.play();
			shoot.disabled = false;
		} catch {
			trouble.textContent = "There is no camera that this page may use. The browser can allow it.";
		}
	});
	shoot.addEventListener("click", async () => {
		const file = await toJpeg(video, video.videoWidth, video.videoHeight);
		dialog.close();
		onPicked([{ file, name: "camera.jpg" }]);
	});
	byId("camera-close").addEventListener("click", () => dialog.close());
	dialog.addEventListener("close", () => {
		stop(video.srcObject);
		video.srcObject = null;
	});
}
