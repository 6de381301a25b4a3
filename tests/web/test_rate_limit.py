"""Token buckets."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.rate_limit import Quotas, network_of


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_burst_passes_and_then_the_rate(clock):
    """A full bucket can be emptied at once; then each token takes exactly the announced time."""
    quotas = Quotas(rate=2, burst=3, clock=clock)
    waits = [quotas.take("a") for _ in range(4)]
    clock.now += 0.4
    early = quotas.take("a")
    clock.now += 0.1
    later = quotas.take("a")

    assert [0, 0, 0, pytest.approx(0.5)] == waits
    assert pytest.approx(0.1) == early
    assert 0 == later


def test_clients_have_buckets_of_their_own(clock):
    """A client beyond its rate takes no tokens from another."""
    quotas = Quotas(rate=1, burst=1, clock=clock)

    assert [True, False, True] == [quotas.take(client) == 0 for client in ("a", "a", "b")]


@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 10), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(rate, burst, pauses):
    """In any time span, at most a full bucket and the tokens added since pass, and waiting as told is enough."""
    clock = Clock()
    quotas = Quotas(rate, burst, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        wait = quotas.take("a")
        passed += wait == 0
        assert passed <= burst + rate * (clock.now - 1000) + 1e-6
        if wait:
            clock.now += wait * (1 + 1e-9)
            assert 0 == quotas.take("a")
            passed += 1


def test_tokens_given_elsewhere_count(clock):
    """Tokens given elsewhere are missing here, even from an empty bucket, and return at the same rate."""
    quotas = Quotas(rate=1, burst=2, clock=clock, most=100)
    for _ in range(4):
        quotas.charge("a")
    wait = quotas.take("a")
    for number in range(200):
        quotas.charge(str(number))

    assert pytest.approx(3.0) == wait
    assert 100 == len(quotas._full_at)


def test_token_given_back_can_be_taken_again(clock):
    """Once, and never beyond a full bucket."""
    quotas = Quotas(rate=1, burst=2, clock=clock)
    for _ in range(5):
        quotas.give_back("a")
    taken = [quotas.take("a") == 0 for _ in range(3)]
    quotas.give_back("a")
    again = [quotas.take("a") == 0 for _ in range(2)]

    assert [True, True, False] == taken
    assert [True, False] == again


def test_table_of_clients_is_bounded(clock):
    """A million addresses take no more memory than the limit, and the busy one stays in the table."""
    quotas = Quotas(rate=1, burst=1, clock=clock, most=100)
    quotas.take("busy")
    for number in range(10_000):
        quotas.take(str(number))
        assert quotas.take("busy")

    assert 100 == len(quotas._full_at)
    assert sys.getsizeof(quotas._full_at) < 50_000


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_address_is_what_its_owner_cannot_change(address, expected):
    """The lower half of an IPv6 address does not count, because the client chooses it."""
    assert expected == network_of(address)


def test_a_token_of_one_front_is_charged_in_all():
    """A client gets its burst once, however its requests are spread over the fronts."""
    fronts = [Quotas(1, 3, lambda: 1000.0) for _ in range(3)]

    def report_of(asked):
        def everyone_else(client, tokens):
            for front in fronts:
                if front is not fronts[asked]:
                    front.charge(client, tokens)

        return everyone_else

    for number, front in enumerate(fronts):
        front.report = report_of(number)
    granted = [fronts[number % 3].take("a") == 0 for number in range(9)]

    assert [True] * 3 + [False] * 6 == granted
    assert 0 == fronts[0].take("b")


def test_refused_request_is_not_charged_elsewhere():
    """The other processes are notified of tokens that were taken or given back, and of no others."""
    reported: list[tuple[str, int]] = []
    quotas = Quotas(1, 2, lambda: 1000.0)
    quotas.report = lambda *charge: reported.append(charge)
    for _ in range(5):
        quotas.take("a")
    quotas.give_back("a")
    quotas.take_more("a", 3)

    assert [("a", 1), ("a", 1), ("a", -1), ("a", 3)] == reported
