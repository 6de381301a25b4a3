"""POST /predict: reads the photos, gets them classified, answers in JSON or as a page.

The bytes of a photo are never written to disk.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response

from app.errors import BadRequestError, RequestError
from app.images.overlay import Marks
from app.records import Pixels
from app.serving.classifier import USUAL, Classification, Classifier
from app.serving.explanation import Question, marks_of
from app.serving.loading import Loaded
from app.serving.many import MOST_IMAGES, Outcome, check_number, classify_many
from app.serving.paper.costs import usual_images
from app.serving.paper.tester import PaperTester
from app.web.accept import PNG, prefers_png
from app.web.endpoints import Endpoint
from app.web.forms import find_files, refuse_hidden_form
from app.web.middleware.admission import count_images
from app.web.openapi import FIELD, PREDICT_BODY, PREDICT_RESPONSES, parameters_of
from app.web.page.plain_answer import answer_page
from app.web.paper import check_single, read_test, tested_body
from app.web.parameters import QUESTION
from app.web.problems import CLIENT_LEFT, ENCODER, problem_of
from app.web.question import explained_body, read_question
from app.web.schemas.answers import ExplainedOut, ModelRef, PredictOut, TestedOut
from app.web.schemas.problem import ProblemOut

T = TypeVar("T")

router = APIRouter(tags=["Classify"])


@router.post(
    Endpoint.PREDICT.path,
    summary="Classify a photo, or several",
    response_model=ExplainedOut | TestedOut | list[ExplainedOut | ProblemOut],
    responses=PREDICT_RESPONSES,
    openapi_extra={"requestBody": PREDICT_BODY, "parameters": parameters_of(Endpoint.PREDICT)},
)
async def predict(
    request: Request,
    top_k: Annotated[
        int | None,
        Query(
            ge=1,
            description=f"How many classes to return; {USUAL} by default, or all if there are fewer. At"
            " most as many as the model knows; see GET /models.",
        ),
    ] = None,
) -> Response:
    """Return the most probable classes, the best first.

    Post the image file itself, or a form with one file part named `file`. With `Accept: image/png`
    and `explain`, the answer is the photo with the box of the best class, or of the first of
    `classes`, and with its heat if that is asked for. The header
    `X-Request-Timeout-Ms` shortens the time from the end of the upload to the answer.

    A form with several parts named `file` gets a list: for each photo, in order, its answer or a
    problem.
    """
    by_test = "test" in request.query_params
    return await (_predict_by_test if by_test else _predict)(request, read_top_k(request, top_k))


async def _predict(request: Request, best: int) -> Response:
    """Answer with what a model sees in the crop that it usually takes."""
    loaded: Loaded = request.state.loaded
    question = None
    if request.state.html or not QUESTION.isdisjoint(request.query_params):
        model = request.app.state.models.get(request.state.model)
        question = read_question(request.query_params, model, loaded, best)
    photos = await _read_photos(request)
    if len(photos) > 1:
        return await _predict_several(request, photos, best, question)
    data = _the_photo(photos)
    classifier: Classifier = request.app.state.classifier
    pictured = (
        question is not None
        and bool(question.parts)
        and not request.state.html
        and prefers_png(request.headers.getlist("accept"))
    )
    work = classifier.classify(loaded, data, best, request.state.deadline, question)
    with classifier.will_draw() if pictured and loaded.trained else nullcontext():
        result = await unless_client_leaves(request, work)
    if result is None:
        return Response(status_code=CLIENT_LEFT)
    body = _body(request, result, question)
    request.state.fields = {
        "model": request.state.model,
        "bytes": len(data),
        **body.image.model_dump(),
        "batch_size": result.batch_size,
        **(question.fields if question else {}),
    }
    if question is not None and pictured:
        marks = marks_of(result.explained, result.predictions, question.parts)
        if marks is not None:
            return await _draw(request, data, result, marks)
    return _answer(request, body, result, exclude_unset=question is not None)


async def _predict_by_test(request: Request, best: int) -> Response:
    """Answer with what many views of a photo gave on average."""
    loaded: Loaded = request.state.loaded
    test = read_test(request.query_params, loaded)
    photos = await _read_photos(request)
    check_single(photos)
    data = _the_photo(photos)
    count_images(request, math.ceil(usual_images(loaded, test)))
    tester: PaperTester = request.app.state.tester
    work = tester.classify(loaded, test, data, best, request.state.deadline)
    result = await unless_client_leaves(request, work)
    if result is None:
        return Response(status_code=CLIENT_LEFT)
    body = tested_body(model_ref(request), result)
    request.state.fields = {
        "model": request.state.model,
        "bytes": len(data),
        **body.image.model_dump(),
        "test": test,
    }
    return _answer(request, body, result)


async def _predict_several(
    request: Request,
    photos: list[bytes | RequestError],
    best: int,
    question: Question | None,
) -> Response:
    """Answer with a list: for each photo, in order, what it alone would get, or a problem."""
    outcomes = await classify_all(request, photos, best, question)
    if outcomes is None:
        return Response(status_code=CLIENT_LEFT)
    items = []
    for outcome in outcomes:
        if isinstance(outcome, Classification):
            body = _body(request, outcome, question)
            items.append(body.model_dump_json(exclude_unset=question is not None))
        else:
            problem = problem_of(outcome) | {"request_id": request.state.request_id}
            items.append(ENCODER.encode(problem))
        await asyncio.sleep(0)  # 64 lists of a thousand classes take a while
    request.state.fields = {
        "model": request.state.model,
        "images": len(photos),
        "problems": sum(not isinstance(one, Classification) for one in outcomes),
    }
    return Response(f"[{','.join(items)}]", media_type="application/json")


async def classify_all(
    request: Request,
    images: Sequence[bytes | Pixels | RequestError],
    k: int,
    question: Question | None = None,
) -> list[Outcome] | None:
    """Classify all images of a request, each of which costs its client a token; see `classify_many`.

    Returns:
        What became of each, in order; None if the client has left.
    """
    check_number(len(images))
    count_images(request, len(images))
    classifier: Classifier = request.app.state.classifier
    work = classify_many(
        classifier, request.state.loaded, images, k, request.state.deadline, question
    )
    return await unless_client_leaves(request, work)


def model_ref(request: Request) -> ModelRef:
    """Return which model answers a request."""
    loaded: Loaded = request.state.loaded
    return ModelRef(
        name=request.state.model,
        weights_sha256=loaded.weights_sha256,
        trained=loaded.trained,
        precision=loaded.precision if loaded.precision == "int8" else None,
        stands_in_for=request.state.stands_in_for,
    )


def _body(request: Request, result: Classification, question: Question | None) -> PredictOut:
    if question is not None:
        return explained_body(model_ref(request), result, question, request.state.loaded)
    return PredictOut(
        model=model_ref(request),
        predictions=list(result.predictions),  # type: ignore[arg-type] # read by attribute
        image=result.image,  # type: ignore[arg-type] # read by attribute
        unusual=result.unusual or None,
    )


def _answer(
    request: Request,
    body: PredictOut | TestedOut,
    result: Classification,
    *,
    exclude_unset: bool = False,
) -> Response:
    headers = headers_of(request, result.seconds, result.batch_size)
    if request.state.html:
        return answer_page(request.scope, body, len(request.state.loaded.labels), headers)
    json = body.model_dump_json(exclude_unset=exclude_unset)
    return Response(json, media_type="application/json", headers=headers)


def headers_of(request: Request, seconds: Mapping[str, float], batch_size: int) -> dict[str, str]:
    """Return the headers that say how long each stage took, and how large the batch was."""
    return {"Server-Timing": timing_of(request, seconds), "X-Batch-Size": str(batch_size)}


def timing_of(request: Request, seconds: Mapping[str, float]) -> str:
    """Return the header that says how long each stage took, and all of them together."""
    stages = {**seconds, "total": time.monotonic() - request.state.began}
    return ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in stages.items())


async def _draw(request: Request, data: bytes, result: Classification, marks: Marks) -> Response:
    """Return the answer as a picture."""
    began = time.monotonic()
    classifier: Classifier = request.app.state.classifier
    drawing = classifier.draw(data, result.image, marks, request.state.deadline)
    picture = await unless_client_leaves(request, drawing)
    if picture is None:
        return Response(status_code=CLIENT_LEFT)
    seconds = {**result.seconds, "draw": time.monotonic() - began}
    headers = headers_of(request, seconds, result.batch_size)
    return Response(picture, media_type=PNG, headers={**headers, "Vary": "Accept"})


def read_top_k(request: Request, top_k: int | None) -> int:
    """Return how many classes to answer with.

    Raises:
        BadRequestError: If the model does not know so many.
    """
    classes = len(request.state.loaded.labels)
    if top_k is not None and top_k > classes:
        raise BadRequestError(
            f"top_k: {request.state.model} knows {classes} classes.", limit={"top_k": classes}
        )
    return top_k or min(USUAL, classes)


async def read_upload(request: Request, names: tuple[str, ...] = (FIELD,)) -> bytes:
    """Return the raw body, whatever its type, or the only file of a form.

    Raises:
        RequestError: If a form has no file of these names, or the body is another kind of form.
    """
    return _the_photo(await _read_photos(request, names, 1))


def _the_photo(photos: list[bytes | RequestError]) -> bytes:
    """Return the only photo, or raise why it is none."""
    [photo] = photos
    if isinstance(photo, RequestError):
        raise photo
    return photo


async def _read_photos(
    request: Request, names: tuple[str, ...] = (FIELD,), most: int | None = None
) -> list[bytes | RequestError]:
    """Return the files of a multipart body, or the raw body; a page shows one."""
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    media_type = content_type.lower()
    if media_type.startswith("multipart/"):
        most = most or (1 if request.state.html else MOST_IMAGES)
        return find_files(content_type, body, names, most)
    if body.startswith(b"--") or "urlencoded" in media_type:
        refuse_hidden_form(body)
    return [body]


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what the work returns; cancel it and return None as soon as the client leaves.

    uvicorn does not cancel the handler of a request whose client has left. The body has been read.
    """
    task = asyncio.create_task(work)
    left = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None
    finally:
        task.cancel()
        left.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
