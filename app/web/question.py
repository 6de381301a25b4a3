"""What POST /predict is asked beside the most probable classes: `explain`, `classes`, `against`."""

from dataclasses import asdict
from typing import Final

import numpy as np
from starlette.datastructures import QueryParams

from app.errors import UnknownParameterError
from app.images.photo_box import PhotoBox
from app.records import Explanation, Label, Prediction
from app.serving.batching.explaining import MOST
from app.serving.classifier import Classification
from app.serving.explanation import Explained, Located, Question
from app.serving.hosted_models import HostedModel
from app.serving.loading import Loaded
from app.web.parameters import PARTS, QUESTION
from app.web.schemas.answers import ExplainedOut, ModelRef
from app.weights.class_names import ClassNames

_LONGEST: Final = 4000
"""Characters of a list of classes; a label may have some hundreds."""
_DIGITS: Final = 3
"""Decimals of heat and of shares."""
_BY: Final = "Name a class by its index, its WordNet id or its label"
UNTRAINED: Final = (
    "The weights are untrained: they have never seen a photo, so there is nothing to locate."
)


def read_question(
    query: QueryParams, model: HostedModel, loaded: Loaded, best: int
) -> Question | None:
    """Read the parameters, before the body is read; a page without any asks for boxes.

    Args:
        query: Of the request.
        model: Chosen by the request.
        loaded: The same.
        best: How many of the most probable classes the answer will have.

    Raises:
        UnknownParameterError: If one is empty or unknown, a class or a word is there twice, there are
            too many, or the model cannot be explained.
    """
    if QUESTION.isdisjoint(query):
        return _question_of_a_page(loaded, best)
    parts = _parts(query) if "explain" in query else frozenset()
    classes = _classes(query, model.names) if "classes" in query else ()
    against = None
    if "against" in query:
        if not parts:
            raise UnknownParameterError("against: needs explain, as in explain=box&against=281.")
        against = _one_class("against", "the class", query["against"], model.names)
    if parts:
        _check_model(model, loaded)
        if best + len(classes) > MOST:
            raise UnknownParameterError(
                f"explain: the request asks about {best + len(classes)} classes, by top_k and"
                f" classes together; at most {MOST} are explained.",
                limit={"classes": MOST},
            )
    return Question(parts, classes, against)


def _question_of_a_page(loaded: Loaded, best: int) -> Question | None:
    explains = loaded.trained and loaded.queue.policy.explaining is not None and best <= MOST
    return Question(frozenset({"box"})) if explains else None


def _parts(query: QueryParams) -> frozenset[str]:
    words = [word.strip().lower() for word in ",".join(query.getlist("explain")).split(",")]
    there_are = f"There are {', '.join(PARTS[:-1])} and {PARTS[-1]}, several by comma."
    for number, word in enumerate(words, start=1):
        if not word:
            raise UnknownParameterError(f"explain: entry {number} is empty. {there_are}")
        if word not in PARTS:
            raise UnknownParameterError(f"explain: entry {number} is unknown. {there_are}")
        if word in words[: number - 1]:
            raise UnknownParameterError(f"explain: {word} is there twice.")
    return frozenset(words)


def _check_model(model: HostedModel, loaded: Loaded) -> None:
    why = why_not_explained(model, loaded)
    if why and why != UNTRAINED:
        raise UnknownParameterError(
            f"explain: {why} Leave explain out, or name another model; GET /models/NAME says whether"
            " it explains."
        )


def why_not_explained(model: HostedModel, loaded: Loaded) -> str:
    """Return a sentence that says why a model explains nothing here; empty if it does."""
    name = model.manifest.name
    if model.manifest.explanation is None:
        return (
            f"{name} is a ready ONNX graph, and only networks built here from a checkpoint say where"
            " they see a class."
        )
    if not loaded.trained:
        return UNTRAINED
    if loaded.queue.policy.explaining is not None:
        return ""
    if loaded.precision == "int8":
        return (
            f"{name} computes in int8 on this server, and only float32 and float16 are explained."
        )
    return f"{name} cannot be explained on this server."


def _classes(query: QueryParams, names: ClassNames) -> tuple[int, ...]:
    """Read a list in which labels have commas of their own: the longest name counts."""
    value = ",".join(query.getlist("classes"))
    pieces = value[:_LONGEST].split(",")
    found: list[int] = []
    at = 0
    while at < len(pieces):
        if len(found) == MOST or len(value) > _LONGEST:
            raise UnknownParameterError(
                f"classes: names too many classes; the limit is {MOST}.", limit={"classes": MOST}
            )
        furthest = min(len(pieces), at + names.most_names)
        end = next(
            (end for end in range(furthest, at, -1) if names.find(",".join(pieces[at:end]))),
            at + 1,
        )
        number = len(found) + 1
        index = _one_class("classes", f"entry {number}", ",".join(pieces[at:end]), names)
        if index in found:
            first = found.index(index) + 1
            raise UnknownParameterError(
                f"classes: entries {first} and {number} are the same class,"
                f" {names.describe([index])}."
            )
        found.append(index)
        at = end
    return tuple(found)


def _one_class(parameter: str, what: str, text: str, names: ClassNames) -> int:
    if not text.strip():
        raise UnknownParameterError(f"{parameter}: {what} is empty. {_BY}.")
    found = names.find(text)
    if len(found) > 1:
        raise UnknownParameterError(
            f"{parameter}: {what} is a name of several classes: {names.describe(found)}. Name one"
            " by its index."
        )
    if not found:
        similar = names.similar(text)
        hint = f" Similar are {names.describe(similar)}." if similar else ""
        raise UnknownParameterError(
            f"{parameter}: {what} is no class of this model. {_BY};"
            f" the last index is {names.last}.{hint}"
        )
    return found[0]


def explained_body(
    model: ModelRef, result: Classification, question: Question, loaded: Loaded
) -> ExplainedOut:
    """Return the answer to a question; what was not asked is unset."""
    explained = result.explained or Explained()
    answer: dict[str, object] = {
        "model": model,
        "predictions": [_row(one, explained, question) for one in result.predictions],
        "image": result.image,
    }
    if result.unusual:
        answer["unusual"] = True
    if question.classes:
        answer["asked"] = [_row(one, explained, question) for one in explained.asked]
    if question.parts:
        answer["view"] = _box(explained.view)
        answer["explanation"] = _explanation(question, loaded)
    return ExplainedOut.model_validate(answer)


def _explanation(question: Question, loaded: Loaded) -> dict[str, object]:
    how = loaded.manifest.explanation or Explanation()
    said: dict[str, object] = {
        "method": how.method,
        "layer": " + ".join(how.layers),
        "threshold": how.threshold,
    }
    if question.against is not None:
        label: Label = loaded.labels[question.against]
        said["against"] = {
            "label": label.text,
            "wnid": label.wnid,
            "class_index": question.against,
        }
    if not loaded.trained:
        said["withheld"] = UNTRAINED
    return said


def _row(prediction: Prediction, explained: Explained, question: Question) -> dict[str, object]:
    """Return a class with what was asked about it, null where there is nothing to say."""
    row: dict[str, object] = asdict(prediction)
    located = explained.located.get(prediction.class_index)
    if not question.parts.isdisjoint(("box", "evidence")):
        row["box"] = _box(located.box if located else None)
    if "evidence" in question.parts:
        share = located.evidence_in_box if located else None
        row["evidence_in_box"] = None if share is None else round(share, _DIGITS)
    if "heat" in question.parts:
        row["heat"] = _heat(located) if located else None
    return row


def _box(box: PhotoBox | None) -> dict[str, int] | None:
    return None if box is None else box._asdict()


def _heat(located: Located) -> dict[str, object]:
    values = located.heat
    return {
        "rows": values.shape[0],
        "columns": values.shape[1],
        "values": np.round(values.astype(np.float64), _DIGITS).ravel().tolist(),
    }
