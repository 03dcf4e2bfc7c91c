"""Batching: what arrives together is answered together, each with its own rows."""

import asyncio

from slipway.serving.batch import Batcher, Job


class Doubler:
    """An engine that doubles its one column, remembers its runs, and fails on a negative number."""

    def __init__(self):
        self.runs = []

    def predict(self, table):
        """Twice the column ``a``."""
        self.runs.append(len(table["a"]))
        if min(table["a"]) < 0:
            raise ValueError("negative")
        return [2.0 * value for value in table["a"]]


def run(requests, max_rows=100):
    """Submit requests in one turn of an event loop; their outcomes and the engine's runs."""
    engine, outcomes = Doubler(), {}

    async def main():
        batcher = Batcher(engine, max_rows)
        for number, values in enumerate(requests):
            batcher.submit(
                Job(
                    {"a": values},
                    len(values),
                    lambda rows, number=number: outcomes.update({number: rows}),
                    lambda error, number=number: outcomes.update({number: str(error)}),
                )
            )
        await asyncio.sleep(0)

    asyncio.run(main())
    return [outcomes[number] for number in range(len(requests))], engine.runs


def test_one_turn_is_one_run():
    """Three requests of one turn are one run, and each gets its own rows."""
    assert run([[1], [2, 3], [4]]) == ([[2.0], [4.0, 6.0], [8.0]], [4])


def test_a_run_is_bounded():
    """Requests beyond the most rows of a run go into the next; a large one goes alone."""
    assert run([[1], [2, 3], [4] * 5, [5]], max_rows=3)[1] == [3, 5, 1]


def test_one_bad_request_fails_alone():
    """A request that the engine fails on does not take its company along."""
    assert run([[1], [-1], [2]])[0] == [[2.0], "negative", [4.0]]
