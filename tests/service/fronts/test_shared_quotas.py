"""Rate limits of several processes."""

from app.service.fronts.shared_quotas import SharedQuotas


def test_a_token_of_one_front_is_charged_in_all():
    """A client gets its burst once, however its requests are spread over the fronts."""
    fronts: list[SharedQuotas] = []

    def report_of(asked):
        def everyone_else(client, tokens):
            for front in fronts:
                if front is not fronts[asked]:
                    front.charge(client, tokens)

        return everyone_else

    fronts += [SharedQuotas(1, 3, lambda: 1000.0, report_of(number)) for number in range(3)]
    granted = [fronts[number % 3].take("a") == 0 for number in range(9)]

    assert [True] * 3 + [False] * 6 == granted
    assert 0 == fronts[0].take("b")


def test_refused_request_is_not_charged_elsewhere():
    """The other processes are notified of tokens that were taken or given back, and of no others."""
    reported: list[tuple[str, int]] = []
    quotas = SharedQuotas(1, 2, lambda: 1000.0, lambda *charge: reported.append(charge))
    for _ in range(5):
        quotas.take("a")
    quotas.give_back("a")

    assert [("a", 1), ("a", 1), ("a", -1)] == reported
