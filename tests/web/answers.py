"""What tests read from an answer."""


def problem(answer):
    """Return the status and the type of an answer that is a problem in its only shape."""
    body = answer.json()
    assert "application/problem+json" == answer.headers["content-type"]
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"] == body["detail"]
    assert {"type", "title", "status", "detail", "request_id", "retryable"} <= set(body)
    return answer.status_code, body["type"]
