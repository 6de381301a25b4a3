"""The option --stress: a sample of the photos is changed in ten ways, and asked about again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.cli.console import err
from app.cli.evaluate.model import Model
from app.cli.evaluate.photos import stamp_of, unanswered
from app.cli.evaluate.progress import progress
from app.cli.files import File, TroubleError, read_photo
from app.errors import RequestError
from app.evaluation.accuracy import Entry
from app.evaluation.answers import Answer, Answers, open_answers
from app.evaluation.dataset import Photo
from app.evaluation.report import Evaluated
from app.evaluation.run import NO_ROW, largest_batch
from app.evaluation.stress import answer_changed, flip_rates, sample
from app.images.changes import changed, changes
from app.machine import usable_cpus
from app.records import PixelBatch
from app.runtime.dense_session import DenseSession
from app.runtime.open_session import Session
from app.service.parts import preparation
from app.setup_errors import SetupError


def stress(model: Model, done: Evaluated, file: Path | None, most: int) -> Entry:
    """Return the flip rates of up to `most` photos; their answers are kept in a file, to go on with.

    Raises:
        SetupError: If the model takes whole photos, or none can be read again.
    """
    if isinstance(model.session, DenseSession):
        raise SetupError("--stress changes the usual crop of a model: leave out --test.")
    titles = {name: title for name, (title, _) in changes().items()}
    places = sample(done.classified, most)
    photos = [done.photos[place] for place in places]
    title = f"{model.manifest.name}, {len(titles)} changes"
    with (
        open_answers(file, model.made_by | {"changes": titles}) as answers,
        progress(err, title, len(photos)) as step,
    ):
        _answer(model, model.session, photos, answers, step)
        found = [answers.known[photo.name] for photo in photos]
    if all(one.trouble for one in found):
        raise SetupError(f"None of {len(found):,} photos could be read again: {found[0].trouble}")
    kept = [place for place, one in zip(places, found, strict=True) if not one.trouble]
    side = done.side(kept)
    after = np.stack([one.row for one in found if not one.trouble]).astype(np.int64)
    return flip_rates(titles, side.rows.argmax(axis=1), side.labels, after, len(done.classified))


def _answer(
    model: Model, session: Session, photos: list[Photo], answers: Answers, step: Callable[[], None]
) -> None:
    left = unanswered(photos, answers, step)
    if not left:
        return
    prepare, preprocess = preparation(model.settings), model.manifest.preprocess
    run, ways = session.run, len(changes())
    single = largest_batch(run, preprocess.crop, ways) == 1

    def change(photo: Photo) -> tuple[Answer, PixelBatch | None]:
        stamp = stamp_of(photo.path)
        try:
            data = read_photo(File(photo.path, named=True), model.settings.all_upload_bytes)
            batch = changed(prepare, data, preprocess)
        except (TroubleError, RequestError) as exc:
            return Answer(photo.name, stamp, "", (0, 0), "", str(exc), NO_ROW), None
        return Answer(photo.name, stamp, "", (0, 0), "", "", NO_ROW), batch

    def add(answer: Answer) -> None:
        answers.add(answer)
        step()

    answer_changed(left, change, run, usable_cpus(), add, single=single)
