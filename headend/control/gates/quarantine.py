"""A batch outside its usual size waits until another person has looked at it: what asks for ten times as many trips as ever has gone wrong."""

from headend.control.facts import Facts, Limits, is_person


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.batch_size is None:
        return "nobody can say how many trips were asked for together"
    if facts.batch_size <= limits.batch_small:
        return None
    if (
        facts.batch_released is not None
        and facts.batch_size <= facts.batch_released
        and is_person(facts.batch_released_by)
        and facts.batch_released_by != facts.requested_by
    ):
        return None
    if facts.batch_usual is None:
        return f"a batch of {facts.batch_size} trips, and nobody knows yet how many are usual; it waits for `headend relay release`"
    if facts.batch_size > limits.batch_times * facts.batch_usual:
        return f"a batch of {facts.batch_size} trips, where {facts.batch_usual} are usual; it waits for `headend relay release`"
    return None
