"""Quotas of several processes."""

from app.service.fronts.shared_quotas import SharedQuotas


def test_what_one_gives_out_the_others_miss():
    """A client gets its burst once, whichever fronts it asks."""
    fronts: list[SharedQuotas] = []

    def tell(asked):
        def everyone_else(client):
            for front in fronts:
                if front is not fronts[asked]:
                    front.charge(client)

        return everyone_else

    fronts += [SharedQuotas(1, 3, lambda: 1000.0, tell(number)) for number in range(3)]
    granted = [fronts[number % 3].take("a") == 0 for number in range(9)]

    assert [True] * 3 + [False] * 6 == granted
    assert 0 == fronts[0].take("b")


def test_what_is_refused_is_not_told():
    """Only tokens that were given are charged elsewhere."""
    told: list[str] = []
    quotas = SharedQuotas(1, 2, lambda: 1000.0, told.append)
    for _ in range(5):
        quotas.take("a")

    assert ["a", "a"] == told
